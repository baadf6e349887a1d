"""Reads of single events and batches, and of executions that run too long."""

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.http.executions.events import BatchStatus, EventResult
from noetl_contract.http.masking import masked
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import (
    EVENT_RESULT,
    EVENTS_BATCH,
    EXECUTIONS_STUCK,
    BatchName,
    EventName,
    StuckExecutions,
    StuckRequest,
)

from noetl_projector.executions.store import ExecutionStore


class EventHandlers:
    """One method per operation."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store

    def handlers(self) -> list[Handler]:
        """Return the handlers of the operations."""
        return [
            handle(EVENT_RESULT, self.on_event_result),
            handle(EVENTS_BATCH, self.on_batch),
            handle(EXECUTIONS_STUCK, self.on_stuck),
        ]

    async def on_event_result(self, request: EventName) -> EventResult | Refusal:
        """Return the result of an event, secrets masked."""
        event = await self._store.find_event(request.event_id)
        if event is None:
            return Refusal(404, f"Event not found: {request.event_id}")
        return event.model_copy(update={"result": masked(event.result)})

    async def on_batch(self, request: BatchName) -> BatchStatus | Refusal:
        """Return the state of a batch, named by one of its events; batches are committed whole."""
        request_id = request.request_id
        event = await self._store.find_event(request_id)
        if event is None:
            return Refusal(404, f"Batch request not found: {request_id}")
        key = await self._store.find_batch_key(int(event.execution_id), event_id=request_id)
        return BatchStatus(
            request_id=str(request_id),
            execution_id=str(event.execution_id),
            state="completed",
            status="COMPLETED",
            error_code=None,
            message=None,
            commands_generated=0,
            idempotency_key=key,
            updated_at=event.created_at,
        )

    async def on_stuck(self, request: StuckRequest) -> StuckExecutions:
        """List executions that run for longer than they should, oldest first."""
        ids = await self._store.find_stuck(
            older_than_minutes=request.older_than_minutes, limit=request.limit
        )
        return StuckExecutions(execution_ids=ids)

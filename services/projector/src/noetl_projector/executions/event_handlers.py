"""Reads of single events and batches, and of executions that run too long."""

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.masking import masked
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.executions.store import ExecutionStore
from noetl_projector.rpc import refused
from noetl_projector.settings import Settings


class EventHandlers:
    """One method per request."""

    def __init__(self, store: ExecutionStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "event.result": self.on_event_result,
            "events.batch": self.on_batch,
            "executions.stuck": self.on_stuck,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_event_result(self, request: JsonObject) -> RpcReply | bytes:
        """Return the result of an event, secrets masked."""
        event_id = int(request["event_id"])
        event = await self._store.find_event(event_id)
        if event is None:
            return refused(404, f"Event not found: {event_id}")
        return encode_reply(
            {
                "event_id": event.event_id,
                "execution_id": event.execution_id,
                "event_type": event.event_type,
                "node_name": event.node_name,
                "status": event.status or "UNKNOWN",
                "result": masked(event.result),
                "error": event.error,
                "created_at": rfc3339(event.created_at),
            }
        )

    async def on_batch(self, request: JsonObject) -> RpcReply:
        """Return the state of a batch, named by one of its events; batches are committed whole."""
        request_id = int(request["request_id"])
        event = await self._store.find_event(request_id)
        if event is None:
            return refused(404, f"Batch request not found: {request_id}")
        key = await self._store.find_batch_key(event.execution_id, event_id=request_id)
        return RpcReply(
            body={
                "request_id": str(request_id),
                "execution_id": str(event.execution_id),
                "state": "completed",
                "status": "COMPLETED",
                "error_code": None,
                "message": None,
                "commands_generated": 0,
                "idempotency_key": key,
                "updated_at": rfc3339(event.created_at),
            }
        )

    async def on_stuck(self, request: JsonObject) -> RpcReply:
        """List executions that run for longer than they should, oldest first."""
        ids = await self._store.find_stuck(
            older_than_minutes=int(request["older_than_minutes"]), limit=int(request["limit"])
        )
        return RpcReply(body={"execution_ids": ids})

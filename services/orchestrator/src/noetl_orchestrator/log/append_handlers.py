"""Handlers of rows that operators and subscriptions append to the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.events import status_from_type
from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.http.executions.events import EventAnswer, EventBatchAnswer
from noetl_contract.http.system.internal import ProjectAnswer
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.orchestrator import (
    LOG_POST,
    LOG_PROJECT,
    SUBSCRIPTION_CHANGE,
    SUBSCRIPTION_REGISTER,
    ProjectRows,
    SubscriptionChange,
    SubscriptionRegistration,
)
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import event_subject
from noetl_engine.decide.rows import meta_of, result_of

from noetl_orchestrator.log.appends import (
    Appended,
    Appends,
    LogRow,
    Subscription,
    subscription_context,
)

_ACTIONS = {
    "activate": ("subscription.activated", "ACTIVE"),
    "pause": ("subscription.paused", "PAUSED"),
    "resume": ("subscription.resumed", "ACTIVE"),
    "drain": ("subscription.draining", "DRAINING"),
    "deactivate": ("subscription.deactivated", "DEACTIVATED"),
}
_ALLOWED = {
    "activate": ("REGISTERED", "PAUSED", "DEACTIVATED", "ACTIVE"),
    "pause": ("ACTIVE", "PAUSED"),
    "resume": ("PAUSED", "ACTIVE"),
    "drain": ("ACTIVE", "PAUSED", "DRAINING"),
    "deactivate": ("REGISTERED", "ACTIVE", "PAUSED", "DRAINING", "DEACTIVATED"),
}

type OnMoved = Callable[[Mapping[int, int]], Awaitable[None]]
"""Takes the new last positions of executions, by execution id."""


class LogHandlers:
    """Append rows without a decision of the engine; the edge has checked their fields."""

    def __init__(
        self,
        appends: Appends,
        *,
        on_moved: OnMoved,
        new_id: Callable[[], int],
        shard: int,
        shard_count: int,
    ) -> None:
        self._appends = appends
        self._on_moved = on_moved
        self._new_id = new_id
        self._shard = shard
        self._shard_count = shard_count

    def handlers(self) -> list[Handler]:
        """Return the handlers of all operations that append."""
        return [
            handle(LOG_PROJECT, self.on_project),
            handle(LOG_POST, self.on_post),
            handle(SUBSCRIPTION_REGISTER, self.on_register),
            handle(SUBSCRIPTION_CHANGE, self.on_change),
        ]

    async def on_project(self, request: ProjectRows) -> ProjectAnswer | Refusal:
        """Append envelopes; count ids that a log already has as duplicates."""
        rows = [LogRow(**dict(envelope)) for envelope in request.events]
        foreign_ids = {row.execution_id for row in rows if not self._is_ours(row.execution_id)}
        if foreign_ids:
            return _of_another_shard(min(foreign_ids))
        appended = await self._appends.append(rows, only_to_known=request.only_to_known) or []
        await self._on_moved(_last_positions(appended))
        return ProjectAnswer(projected=len(appended), duplicates=len(rows) - len(appended))

    async def on_post(self, request: EventsMessage) -> EventAnswer | EventBatchAnswer | Refusal:
        """Append posted events to a log without a playbook, such as a subscription's."""
        execution_id = request.execution_id
        if not self._is_ours(execution_id):
            return _of_another_shard(execution_id)
        rows = [self._posted_row(execution_id, event, request) for event in request.events]
        if await self._appends.append(rows, only_to_known=True) is None:
            return Refusal(404, f"Execution not found: {execution_id}")
        if request.batch:
            ids = [row.event_id for row in rows]
            return EventBatchAnswer(status="ok", event_ids=ids, commands_generated=0)
        return EventAnswer(status="ok", event_id=rows[0].event_id, commands_generated=0)

    async def on_register(self, request: SubscriptionRegistration) -> SubscriptionBody | Refusal:
        """Register a subscription, or return the open one of its path."""
        subscription_id, path = request.subscription_id, request.path
        if not self._is_ours(subscription_id):
            return _of_another_shard(subscription_id)
        row = self._lifecycle_row(
            subscription_id,
            "subscription.registered",
            "REGISTERED",
            catalog_id=request.catalog_id,
            node_name=path,
            context=subscription_context(subscription_id, path, request.catalog_id),
        )
        return _body(await self._appends.register(row, path=path, state="REGISTERED"))

    async def on_change(self, request: SubscriptionChange) -> SubscriptionBody | Refusal:
        """Change the state of a subscription, if its present state allows it."""
        subscription_id, action = request.subscription_id, request.action
        if not self._is_ours(subscription_id):
            return _of_another_shard(subscription_id)
        if action not in _ACTIONS:
            return Refusal(422, f"Unknown subscription action '{action}'")
        event_type, state = _ACTIONS[action]
        allowed = _ALLOWED[action]
        row = self._lifecycle_row(subscription_id, event_type, state)
        found, changed = await self._appends.change(row, state=state, allowed=allowed)
        if found is None:
            return Refusal(404, f"Subscription {subscription_id} not registered")
        if not changed:
            states = ", ".join(f'"{one}"' for one in allowed)
            text = f"Cannot '{action}' a subscription in state '{found.state}'"
            return Refusal(422, f"{text} (allowed from [{states}])")
        return _body(found)

    def _posted_row(self, execution_id: int, event: WireEvent, message: EventsMessage) -> LogRow:
        status = event.status if event.status is not None else status_from_type(event.event_type)
        moment = None if event.created_at is None else event.created_at.isoformat()
        if event.worker_id is None and message.worker_id is not None:
            event = event.model_copy(update={"worker_id": message.worker_id})
        return self._published_row(
            execution_id=execution_id,
            event_id=self._new_id() if event.event_id is None else event.event_id,
            event_type=event.event_type,
            node_id=event.step,
            node_name=event.step,
            status=status,
            result=result_of(event, status),
            meta=meta_of(event, late=False),
            created_at=moment,
            worker_id=event.worker_id if message.batch else None,
        )

    def _lifecycle_row(
        self, subscription_id: int, event_type: str, state: str, **columns: Json
    ) -> LogRow:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return self._published_row(
            execution_id=subscription_id,
            event_id=self._new_id(),
            event_type=event_type,
            node_id="subscription",
            node_type="subscription",
            status=state,
            meta={"emitted_at": now, "emitter": "control_plane", "subscription_lifecycle": True},
            **columns,
        )

    def _published_row(self, *, execution_id: int, **columns: Json) -> LogRow:
        """Return a row that the relay publishes."""
        return LogRow(
            execution_id=execution_id,
            outbox_id=self._new_id(),
            subject=event_subject(execution_id, shard=self._shard),
            **columns,
        )

    def _is_ours(self, execution_id: int) -> bool:
        return shard_for(execution_id, shard_count=self._shard_count) == self._shard


def _body(found: Subscription) -> SubscriptionBody:
    return SubscriptionBody(
        subscription_id=str(found.subscription_id),
        path=found.path,
        catalog_id=str(found.catalog_id),
        state=found.state,
        last_event_type=found.last_event_type,
        updated_at=found.updated_at.astimezone(UTC).isoformat(),
    )


def _last_positions(appended: Iterable[Appended]) -> dict[int, int]:
    """Return the last position of each log that has grown."""
    positions: dict[int, int] = {}
    for row in appended:
        positions[row.execution_id] = max(row.position, positions.get(row.execution_id, 0))
    return positions


def _of_another_shard(execution_id: int) -> Refusal:
    return Refusal(503, f"Execution {execution_id} is not of this shard")

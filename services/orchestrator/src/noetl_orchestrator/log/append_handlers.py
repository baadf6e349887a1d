"""Handlers of rows that operators and subscriptions append to the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime

from msgspec.structs import asdict
from noetl_bus.rpc import Handler, handle
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
from noetl_contract.subjects import event_subject
from noetl_engine.decide.rows import meta_of, result_of
from noetl_pg.database import Row

from noetl_orchestrator.log.appends import Appends, LogRow
from noetl_orchestrator.settings import Settings

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
        settings: Settings,
    ) -> None:
        self._appends = appends
        self._on_moved = on_moved
        self._new_id = new_id
        self._settings = settings

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
        rows = [LogRow(**asdict(envelope)) for envelope in request.events]
        for execution_id in sorted({row.execution_id for row in rows}):
            if (foreign := self._settings.refuse_foreign(execution_id)) is not None:
                return foreign
        appended = await self._appends.append(rows, only_to_known=request.only_to_known) or []
        await self._on_moved(_last_positions(appended))
        return ProjectAnswer(projected=len(appended), duplicates=len(rows) - len(appended))

    async def on_post(self, request: EventsMessage) -> EventAnswer | EventBatchAnswer | Refusal:
        """Append posted events to a log without a playbook, such as a subscription's."""
        execution_id = request.execution_id
        if (foreign := self._settings.refuse_foreign(execution_id)) is not None:
            return foreign
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
        if (foreign := self._settings.refuse_foreign(subscription_id)) is not None:
            return foreign
        row = self._lifecycle_row(subscription_id, "subscription.registered", "REGISTERED")
        return await self._appends.register(row, path=path, catalog_id=request.catalog_id)

    async def on_change(self, request: SubscriptionChange) -> SubscriptionBody | Refusal:
        """Change the state of a subscription, if its present state allows it."""
        subscription_id, action = request.subscription_id, request.action
        if (foreign := self._settings.refuse_foreign(subscription_id)) is not None:
            return foreign
        if action not in _ACTIONS:
            return Refusal(422, f"Unknown subscription action '{action}'")
        event_type, state = _ACTIONS[action]
        allowed = _ALLOWED[action]
        row = self._lifecycle_row(subscription_id, event_type, state)
        found, changed = await self._appends.change(row, allowed=allowed)
        if found is None:
            return Refusal(404, f"Subscription {subscription_id} not registered")
        if not changed:
            states = ", ".join(f'"{one}"' for one in allowed)
            text = f"Cannot '{action}' a subscription in state '{found.state}'"
            return Refusal(422, f"{text} (allowed from [{states}])")
        return found

    def _posted_row(self, execution_id: int, event: WireEvent, message: EventsMessage) -> LogRow:
        status = event.status if event.status is not None else status_from_type(event.event_type)
        moment = None if event.created_at is None else event.created_at.isoformat()
        if event.worker_id is None and message.worker_id is not None:
            event = event.but(worker_id=message.worker_id)
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

    def _lifecycle_row(self, subscription_id: int, event_type: str, state: str) -> LogRow:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return self._published_row(
            execution_id=subscription_id,
            event_id=self._new_id(),
            event_type=event_type,
            node_id="subscription",
            node_type="subscription",
            status=state,
            meta={"emitted_at": now, "emitter": "control_plane", "subscription_lifecycle": True},
        )

    def _published_row(self, *, execution_id: int, **columns: Json) -> LogRow:
        """Return a row that the relay publishes."""
        return LogRow(
            execution_id=execution_id,
            outbox_id=self._new_id(),
            subject=event_subject(execution_id, shard=self._settings.shard_index),
            **columns,
        )


def _last_positions(appended: Iterable[Row]) -> dict[int, int]:
    """Return the last position of each log that has grown."""
    positions: dict[int, int] = {}
    for row in appended:
        execution_id = row["execution_id"]
        positions[execution_id] = max(row["position"], positions.get(execution_id, 0))
    return positions

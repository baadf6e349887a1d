"""Handlers of rows that operators and subscriptions append to the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.events import status_from_type
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import event_subject, rpc_subject
from noetl_engine.decide.rows import meta_of, result_of

from noetl_orchestrator.log.appends import Appended, Appends, LogRow, Subscription

type Request = JsonObject

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
_PROJECTED = frozenset(
    {
        "event_id",
        "execution_id",
        "catalog_id",
        "parent_event_id",
        "event_type",
        "node_id",
        "node_name",
        "node_type",
        "status",
        "error",
        "stack_trace",
        "duration",
        "context",
        "result",
        "meta",
        "tenant_id",
        "organization_id",
        "created_at",
    }
)


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

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "log.project": self.on_project,
            "log.post": self.on_post,
            "subscription.register": self.on_register,
            "subscription.change": self.on_change,
        }
        return {
            rpc_subject("orchestrator", name, shard=self._shard): handler
            for name, handler in handlers.items()
        }

    async def on_project(self, request: Request) -> RpcReply:
        """Append envelopes; count ids that a log already has as duplicates."""
        envelopes = request["events"]
        rows = [
            LogRow(**{name: value for name, value in one.items() if name in _PROJECTED})
            for one in envelopes
        ]
        foreign_ids = {row.execution_id for row in rows if not self._is_ours(row.execution_id)}
        if foreign_ids:
            return _of_another_shard(min(foreign_ids))
        is_bound = request.get("only_to_known") is True
        appended = await self._appends.append(rows, only_to_known=is_bound) or []
        await self._on_moved(_last_positions(appended))
        return RpcReply(body={"projected": len(appended), "duplicates": len(rows) - len(appended)})

    async def on_post(self, request: Request) -> RpcReply:
        """Append posted events to a log without a playbook, such as a subscription's."""
        message = EventsMessage.model_validate(request)
        execution_id = message.execution_id
        if not self._is_ours(execution_id):
            return _of_another_shard(execution_id)
        rows = [self._posted_row(execution_id, event, message) for event in message.events]
        if await self._appends.append(rows, only_to_known=True) is None:
            return RpcReply(status=404, error=f"Execution not found: {execution_id}")
        if message.batch:
            ids = [row.event_id for row in rows]
            return RpcReply(body={"status": "ok", "event_ids": ids, "commands_generated": 0})
        event_id = rows[0].event_id
        return RpcReply(body={"status": "ok", "event_id": event_id, "commands_generated": 0})

    async def on_register(self, request: Request) -> RpcReply:
        """Register a subscription, or return the open one of its path."""
        subscription_id, path = int(request["subscription_id"]), str(request["path"])
        catalog_id = int(request["catalog_id"])
        if not self._is_ours(subscription_id):
            return _of_another_shard(subscription_id)
        context = {
            "subscription_id": str(subscription_id),
            "path": path,
            "catalog_id": str(catalog_id),
        }
        row = self._lifecycle_row(
            subscription_id,
            "subscription.registered",
            "REGISTERED",
            catalog_id=catalog_id,
            node_name=path,
            context=context,
        )
        found = await self._appends.register(row, path=path, state="REGISTERED")
        return RpcReply(body=subscription_body(found))

    async def on_change(self, request: Request) -> RpcReply:
        """Change the state of a subscription, if its present state allows it."""
        subscription_id, action = int(request["subscription_id"]), str(request["action"])
        if not self._is_ours(subscription_id):
            return _of_another_shard(subscription_id)
        if action not in _ACTIONS:
            return RpcReply(status=422, error=f"Unknown subscription action '{action}'")
        event_type, state = _ACTIONS[action]
        allowed = _ALLOWED[action]
        row = self._lifecycle_row(subscription_id, event_type, state)
        found, changed = await self._appends.change(row, state=state, allowed=allowed)
        if found is None:
            return RpcReply(status=404, error=f"Subscription {subscription_id} not registered")
        if not changed:
            states = ", ".join(f'"{one}"' for one in allowed)
            text = f"Cannot '{action}' a subscription in state '{found.state}'"
            return RpcReply(status=422, error=f"{text} (allowed from [{states}])")
        return RpcReply(body=subscription_body(found))

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


def subscription_body(found: Subscription) -> JsonObject:
    """Return the status object of a subscription."""
    return {
        "subscription_id": str(found.subscription_id),
        "path": found.path,
        "catalog_id": str(found.catalog_id),
        "state": found.state,
        "last_event_type": found.last_event_type,
        "updated_at": found.updated_at.astimezone(UTC).isoformat(),
    }


def _last_positions(appended: Iterable[Appended]) -> dict[int, int]:
    """Return the last position of each log that has grown."""
    positions: dict[int, int] = {}
    for row in appended:
        positions[row.execution_id] = max(row.position, positions.get(row.execution_id, 0))
    return positions


def _of_another_shard(execution_id: int) -> RpcReply:
    return RpcReply(status=503, error=f"Execution {execution_id} is not of this shard")

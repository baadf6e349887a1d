"""A scripted control plane at the message seam: everything the worker talks to, in memory."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull
from noetl_bus.rpc import serve_rpc
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_contract.ingress import REPLY_HEADER, decode_message
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import STREAMS, ingress_durable, pool_durable
from noetl_contract.subjects import command_subject
from noetl_testkit.rpc import fake_handler, serving_claims
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

type MessageAnswer = Callable[[dict[str, Any], int], dict[str, Any] | None]
"""Gets a message and how often it came; None means that the answer is lost."""

SHARD = 0


def make_command(
    action: str = "noop",
    *,
    config: Any = None,
    args: dict[str, Any] | None = None,
    variables: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    **context: Any,
) -> dict[str, Any]:
    return {
        "action": action,
        "context": {
            "tool_config": {} if config is None else config,
            "args": args or {},
            "render_context": variables or {},
            **context,
        },
        "meta": meta or {},
    }


def make_notification(
    event_id: int,
    *,
    command: dict[str, Any] | None = None,
    execution_id: int = 7,
    attempts: int = 0,
    seconds: float = 30.0,
    server_url: str = "http://127.0.0.1:9",
    step: str = "start",
    **changes: Any,
) -> dict[str, Any]:
    fast: dict[str, Any] = {"v": 1, "shard": SHARD, "attempts": attempts}
    if command is not None:
        until = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
        fast |= {"command": command, "until": until}
    return {
        "execution_id": execution_id,
        "event_id": event_id,
        "command_id": f"{execution_id}:{step}:{event_id}",
        "step": step,
        "server_url": server_url,
        "fast": fast,
        **changes,
    }


@dataclass
class ControlPlane:
    """Answers as the test wants and remembers the messages that it got."""

    bus: Bus
    messages: list[dict[str, Any]] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    start_answer: MessageAnswer = lambda _message, _count: {"status": "held"}
    outcome_answer: MessageAnswer = lambda _message, _count: {"status": "ok"}
    claim_answer: Callable[[dict[str, Any], int], RpcReply | dict[str, Any]] = (
        lambda _request, _count: RpcReply(
            status=409,
            error="Command already claimed by another",
            detail={"code": "active_claim", "message": ""},
        )
    )
    result_answer: Callable[[dict[str, Any]], RpcReply | dict[str, Any]] = lambda request: {
        "ref": f"noetl://execution/{request['execution_id']}/result/{request['name']}/1",
        "store": "db",
        "scope": request["scope"],
        "bytes": 5,
        "sha256": "00",
        "expires_at": None,
    }
    runtime_answer: Callable[[str, dict[str, Any]], RpcReply | dict[str, Any]] = (
        lambda _operation, _request: {"status": "ok"}
    )
    over_answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda _query: {"over": []}
    validate: bool = True
    _counts: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    async def notify(self, note: dict[str, Any], *, pool: str = "shared") -> None:
        subject = command_subject(pool, execution_id=note["execution_id"])
        await self.bus.publish(subject, orjson.dumps(note), message_id=None)

    def of(self, kind: str, event_id: int) -> list[dict[str, Any]]:
        return [
            one
            for one in self.messages
            if one["type"] == f"command.{kind}" and one["hold"]["event_id"] == event_id
        ]

    async def outcome(self, event_id: int, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        await eventually(
            lambda: self.of("outcome", event_id),
            what=f"an outcome of {event_id}",
            timeout_seconds=seconds,
        )
        return self.of("outcome", event_id)[0]

    async def result_of(
        self, event_id: int, *, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """The ToolResult in `call.done`."""
        events = (await self.outcome(event_id, seconds=seconds))["events"]
        assert [one["event_type"] for one in events] == [
            "command.started",
            "call.done",
            "command.completed",
        ]
        return events[1]["context"]["result"]["context"]

    async def on_ingress(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if self.validate:
                decode_message(delivery.data)
            message = orjson.loads(delivery.data)
            self.messages.append(message)
            self.message_ids.append(delivery.headers["Nats-Msg-Id"])
            self.headers.append(delivery.headers)
            kind = message["type"].removeprefix("command.")
            key = (kind, message["hold"]["event_id"])
            self._counts[key] += 1
            answer = self.start_answer if kind == "start" else self.outcome_answer
            reply = answer(message, self._counts[key])
            if reply is not None:
                await self.bus.reply(delivery.headers[REPLY_HEADER], orjson.dumps(reply))
            await delivery.ack()

    async def on_claim(self, request: dict[str, Any]) -> RpcReply | dict[str, Any]:
        self.claims.append(request)
        key = ("claim", request["event_id"])
        self._counts[key] += 1
        return self.claim_answer(request, self._counts[key])

    async def on_over(self, query: dict[str, Any]) -> dict[str, Any]:
        return self.over_answer(query)

    async def on_result(self, request: dict[str, Any]) -> RpcReply | dict[str, Any]:
        self.calls.append(("result.put", request))
        return self.result_answer(request)

    def on_runtime(self, operation: str) -> Any:
        async def handle(request: dict[str, Any]) -> RpcReply | dict[str, Any]:
            self.calls.append((operation, request))
            return self.runtime_answer(operation, request)

        return handle


class Pulling:
    """A worker that pulls, seen from the publisher of its notifications."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def notify(self, note: dict[str, Any], *, pool: str = "shared") -> None:
        subject = command_subject(pool, execution_id=note["execution_id"])
        await self.bus.publish(subject, orjson.dumps(note), message_id=None)

    async def all_acked(self) -> None:
        async def nothing_left() -> bool:
            info = await self.bus.js.consumer_info("NOETL_COMMANDS", "noetl_worker_pool_shared")
            return info.num_ack_pending == 0 and info.num_pending == 0

        await eventually(nothing_left, what="all notifications are acknowledged")


def granted(note: dict[str, Any], command: dict[str, Any], *, attempts: int = 0) -> dict[str, Any]:
    """The body of a granted claim."""
    return {
        "status": "ok",
        "event_id": note["event_id"],
        "execution_id": note["execution_id"],
        "node_id": note["step"],
        "node_name": note["step"],
        "action": command["action"],
        "context": command["context"],
        "meta": {**command["meta"], "command_id": note["command_id"], "attempts": attempts},
        "fast": {"v": 1, "shard": SHARD, "attempts": attempts},
    }


@asynccontextmanager
async def control_plane(nats_url: str, *, pool: str = "shared") -> AsyncIterator[ControlPlane]:
    async with connect(NatsSettings(nats_url=nats_url), name="control-plane") as bus:
        ingress = ingress_durable(SHARD)
        await ensure_topology(bus, STREAMS, (ingress, pool_durable(pool)))
        plane = ControlPlane(bus)
        handlers = [
            fake_handler("orchestrator", "runs.over", plane.on_over),
            fake_handler("projector", "result.put", plane.on_result),
        ]
        for operation in ("register", "heartbeat", "deregister"):
            name = f"runtime.{operation}"
            handlers.append(fake_handler("catalog", name, plane.on_runtime(name)))
        async with (
            serve_rpc(bus, handlers, queue="test", shard=SHARD),
            serving_claims(bus, plane.on_claim),
        ):
            pulling = asyncio.create_task(run_pull(bus, ingress, plane.on_ingress))
            try:
                yield plane
            finally:
                pulling.cancel()
                await asyncio.wait([pulling])

"""An edge served over real HTTP and real NATS, with fake services behind it."""

import asyncio
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import orjson
import pytest
import uvicorn
from msgspec.structs import asdict
from noetl_api_gateway.app import create_app
from noetl_api_gateway.http.shell import Shell
from noetl_api_gateway.settings import Settings
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.rpc import Handler, serve_rpc
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_common.clock import unix_ms
from noetl_contract.ingress import (
    REPLY_HEADER,
    STORED_HEADER,
    IngressMessage,
    StoredMessage,
    decode_message,
)
from noetl_contract.json import Json
from noetl_contract.model import Struct
from noetl_contract.rpc import RpcReply, encode_reply
from noetl_contract.rpc.operation import ServiceName
from noetl_contract.rpc.registry import all_operations
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_contract.subjects import commit_subject
from noetl_testkit.rpc import fake_handler, serving_claims
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from pydantic import SecretStr

type Answering = Callable[[dict[str, Json]], Json]
type OnIngress = Callable[[dict[str, Json], Delivery], Awaitable[RpcReply | None]]

EXECUTION_ID = 325077236512452608


@dataclass
class Backend:
    """The services behind the edge: their answers, and the requests that they got."""

    bus: Bus
    answers: dict[str, Answering] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Json]]] = field(default_factory=list)
    ingress: list[dict[str, Json]] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    on_ingress: OnIngress | None = None

    def answer(self, operation: str, answer: Answering | Json) -> None:
        """Answer an operation from now on."""
        self.answers[operation] = answer if callable(answer) else lambda _request: answer

    def requests(self, operation: str) -> list[dict[str, Json]]:
        """Return the requests of an operation; a field that is null counts as absent."""
        return [_without_nulls(request) for name, request in self.asked if name == operation]

    async def append(self, *event_types: str, execution_id: int = EXECUTION_ID) -> None:
        """Announce commits of events; the body of the message is unreadable."""
        for _ in event_types:
            await self.bus.send(commit_subject(execution_id, shard=0), b"{}")

    async def handle(self, operation: str, request: dict[str, Json]) -> RpcReply | dict[str, Json]:
        self.asked.append((operation, request))
        answer = self.answers[operation](_without_nulls(request))
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, RpcReply) else RpcReply.with_body(answer)

    async def take(self, delivery: Delivery) -> None:
        """Take an ingress message as the orchestrator would."""
        if STORED_HEADER in delivery.headers:
            message = fields_of(msgspec.json.decode(delivery.data, type=StoredMessage))
        else:
            message = fields_of(decode_message(delivery.data))
        # Only there where a login is needed.
        if message["type"] == "execute":
            for name in ("owner", "actor", "namespace"):
                if message[name] is None:
                    del message[name]
        self.ingress.append(message)
        self.attempts.append(delivery.headers["Nats-Msg-Id"])
        reply = await (self.on_ingress or _commit)(message, delivery)
        if reply is not None:
            await self.bus.reply(delivery.headers[REPLY_HEADER], encode_reply(reply))


def fields_of(message: IngressMessage | StoredMessage) -> dict[str, Json]:
    """Return all fields of a message, also those that were not sent."""
    return {"type": message.__struct_config__.tag, **_fields(message)}


def _fields(value: Json) -> Json:
    match value:
        case Struct():
            return {name: _fields(field) for name, field in asdict(value).items()}
        case list() | tuple():
            return [_fields(one) for one in value]
        case _:
            return value


def _without_nulls(request: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in request.items() if value is not None}


async def _commit(message: dict[str, Json], _delivery: Delivery) -> RpcReply:
    """Answer as after a commit."""
    match message["type"]:
        case "execute":
            return RpcReply.with_body(
                {
                    "execution_id": str(message["execution_id"]),
                    "status": "started",
                    "commands_generated": 1,
                }
            )
        case "events" if message["batch"]:
            ids = [event["event_id"] for event in message["events"]]
            return RpcReply.with_body({"status": "ok", "event_ids": ids, "commands_generated": 0})
        case "events":
            event_id = message["events"][0]["event_id"]
            return RpcReply.with_body(
                {"status": "ok", "event_id": event_id, "commands_generated": 0}
            )
        case _:
            return RpcReply.with_body(
                {
                    "execution_id": message["execution_id"],
                    "message": "Execution cancellation requested",
                    "status": "cancelled",
                    "cancelled_executions": [str(message["execution_id"])],
                }
            )


def lease(_request: dict[str, Json]) -> Json:
    """Lease machine id 7."""
    return {"machine_id": 7, "lease_seconds": 30, "high_water_ms": 0, "now_ms": unix_ms()}


@asynccontextmanager
async def serving_backend(bus: Bus) -> AsyncIterator[Backend]:
    """Answer on all subjects until the block ends."""
    backend = Backend(bus)
    backend.answer("machine.lease", lease)
    backend.answer("machine.renew", lease)
    for operation in ("runtime.register", "runtime.heartbeat", "runtime.deregister"):
        backend.answer(operation, {"status": "ok"})
    backend.answer("runtime.liveness", {"now": "2026-01-01T00:00:00Z", "workers": {}})
    backend.answer("executions.exists", {"exists": False, "status": None, "commands_generated": 0})
    backend.answer(
        "resolve", {"catalog_id": 11, "path": "demo/hello", "version": 3, "kind": "playbook"}
    )

    def handler(service: ServiceName, name: str, key: str) -> Handler:
        return fake_handler(service, name, lambda request: backend.handle(key, request))

    handlers = [
        handler(
            one.service, one.name, f"outbox.{one.name}" if one.service == "outbox" else one.name
        )
        for one in all_operations()
    ]
    await ensure_topology(bus, STREAMS, (ingress_durable(0),))
    async with (
        serve_rpc(bus, handlers, queue="fake", shard=0),
        serving_claims(bus, lambda request: backend.handle("claim", request)),
    ):
        pulling = asyncio.create_task(
            run_pull_each(bus, ingress_durable(0), backend.take, permits=64, drain_seconds=0.1)
        )
        try:
            yield backend
        finally:
            pulling.cancel()
            await asyncio.wait({pulling})


class _Server(uvicorn.Server):
    """Ends as soon as it can; the original looks ten times a second whether it can."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        state, grace = self.server_state, self.config.timeout_graceful_shutdown
        with suppress(TimeoutError):
            await eventually(
                lambda: not state.connections and not state.tasks,
                timeout_seconds=grace or 0,
                every_seconds=0.002,
            )
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(shell: Shell) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the edge on a free port."""
    # Without the protocol spelt out asyncio leaves Nagle's algorithm on: 40 ms an answer.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            shell,
            ws="none",
            log_config=None,
            access_log=False,
            http="httptools",
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=int(PATIENCE_SECONDS),
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        # It trusts no authority, which is loaded at once.
        no_trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=PATIENCE_SECONDS,
            # A request that has a connection, and does not begin for 5 s, would lose it.
            limits=httpx.Limits(keepalive_expiry=None),
            trust_env=False,
            verify=no_trust,
        ) as client:
            try:
                yield client
            finally:
                shell.service.drain()
                server.should_exit = True
                server.ending.set()
                await task


IMPATIENT: dict[str, Any] = {
    "event_patience_seconds": 3.0,
    "start_patience_seconds": 1.0,
    "exists_patience_seconds": 1.0,
    "resolve_patience_seconds": 1.0,
    "request_try_seconds": 0.5,
    "request_patience_seconds": 1.0,
    "secret_try_seconds": 0.5,
    "secret_patience_seconds": 1.0,
    "claim_patience_seconds": 0.6,
    "health_patience_seconds": 0.5,
}
"""Settings for tests in which something behind the edge doesn't answer."""


def make_settings(nats_url: str, **changes: Any) -> Settings:
    """Return settings with short pauses, and endless timeouts unless a test sets them."""
    defaults: dict[str, Any] = {
        "nats_url": SecretStr(nats_url),
        "clock_allowance_seconds": 0.3,
        "claim_hold_seconds": 0.4,
        "ingress_check_seconds": 0.2,
        "backlog_watch_seconds": 0.05,
        "stream_poll_seconds": 0.3,
        "stream_heartbeat_seconds": 0.5,
    }
    patient = dict.fromkeys(IMPATIENT.keys() - changes, PATIENCE_SECONDS)
    # More than some may be set to.
    return Settings(**{**defaults, **changes}).model_copy(update=patient)


@dataclass
class World:
    """An edge being served, and the services behind it."""

    client: httpx.AsyncClient
    backend: Backend
    shell: Shell

    async def post(self, path: str, body: Json, **headers: str) -> httpx.Response:
        """Post JSON."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"content-type": "application/json", **_dashed(headers)}
        return await self.client.post(path, content=content, headers=sent)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Get."""
        return await self.client.get(path, headers=_dashed(headers))


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def make_world(nats_url: str, **changes: Any) -> AsyncIterator[World]:
    """Serve an edge with fake services behind it."""
    async with AsyncExitStack() as stack:
        nats = NatsSettings(nats_url=SecretStr(nats_url))
        bus = await stack.enter_async_context(connect(nats, name="fake services"))
        backend = await stack.enter_async_context(serving_backend(bus))
        shell = create_app(make_settings(nats_url, **changes))
        client = await stack.enter_async_context(serving(shell))

        await eventually(
            lambda: shell.service.gateway is not None, what="the edge is open", every_seconds=0.002
        )
        yield World(client, backend, shell)


@pytest.fixture
async def start_unanswered(nats_url: str) -> AsyncIterator[World]:
    """An edge that waits for the answer to a start for a short time."""
    async with make_world(nats_url, start_patience_seconds=2.0) as made:
        yield made


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    """An edge with fake services behind it."""
    async with make_world(nats_url) as made:
        yield made

"""The runtime between a source and a control plane, both spoken to over HTTP."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, cast

import pytest
from noetl_bus.broker import connect
from noetl_bus.topology import ensure_topology
from noetl_common.egress import Egress
from noetl_contract.streams import STREAMS
from noetl_contract.subscriptions.document import SpoolSpec
from noetl_contract.subscriptions.messages import Message
from noetl_testkit.brokers.pubsub import PubSubEmulator, running_pubsub
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_testkit.web import Request, Response, serving
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.settings import Settings
from noetl_worker.sources.registry import Sources
from noetl_worker.sources.source import Source, WrongSource
from noetl_worker.subscriptions import runtime as runtime_module
from noetl_worker.subscriptions.circuit import Circuit, probe_of
from noetl_worker.subscriptions.control import Control, Document
from noetl_worker.subscriptions.dead_letters import DeadLetters
from noetl_worker.subscriptions.parts import Parts
from noetl_worker.subscriptions.runtime import Runtime
from noetl_worker.subscriptions.spool.objects import ObjectsStore
from noetl_worker.subscriptions.spool.spool import make_spool
from noetl_worker.subscriptions.spool.store import SpoolAway
from pydantic import SecretStr

PATH = "sales/orders"


@dataclass
class ControlPlane:
    """Control plane that starts executions, as far as the runtime sees it."""

    url: str = ""
    state: str = "ACTIVE"
    is_down: bool = False
    refusals: dict[int, int] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(100))
    _lock: Lock = field(default_factory=Lock)

    @property
    def numbers(self) -> list[int]:
        return [start["payload"]["n"] for start in self.started]

    def answer(self, request: Request) -> Response:
        with self._lock:
            self.asked.append(request.path)
            return self._answer(request)

    def _answer(self, request: Request) -> Response:
        body, status, found = request.json, 200, {}
        match request.path.removeprefix("/api/").split("/"):
            case ["health"]:
                status = 503 if self.is_down else 200
            case ["catalog", "resource"]:
                found = {"content": json.dumps(self.document)}
            case ["subscriptions", _]:
                found = {"subscription_id": "5", "state": self.state}
            case ["events"]:
                self.events.append(body)
            case ["execute"]:
                status, found = self._start(body)
            case ["execute", "batch"]:
                status = 503 if self.is_down else 200
                found = {"results": [self._result(one) for one in body["executions"]]}
            case _:
                status = 404
        return Response(found, status=status)

    def _result(self, wanted: dict[str, Any]) -> dict[str, Any]:
        status, found = self._start(wanted)
        return found if status == 200 else {"status": "error", "error": found["error"]}

    def _start(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.is_down:
            return 503, {"error": "away"}
        refusal = self.refusals.get(wanted["payload"].get("n", -1))
        if refusal is not None:
            return refusal, {"error": "no"}
        key = wanted.get("dedup", {}).get("key", f"none-{next(self._ids)}")
        if key in self.keys:
            return 200, {"execution_id": self.keys[key], "status": "duplicate"}
        self.keys[key] = str(next(self._ids))
        self.started.append(wanted)
        return 200, {"execution_id": self.keys[key], "status": "started"}


@dataclass
class World:
    plane: ControlPlane
    source: PubSubEmulator
    folder: Path

    def send(self, *numbers: int, **attributes: str) -> None:
        for number in numbers:
            self.source.publish("orders", json.dumps({"n": number}).encode(), **attributes)

    @asynccontextmanager
    async def running(self, **spec: Any) -> AsyncIterator[Runtime]:
        """Run a runtime; at the end it settles its messages."""
        settings = Settings(server_url=self.plane.url)
        self.plane.document = {
            "spec": {
                "source": "pubsub",
                "mode": "pull",
                "endpoint": self.source.url,
                "subscription": "projects/p/subscriptions/orders",
                "dispatch": {"playbook": "sales/take"},
                "runtime": {"timeout_ms": 100},
                "circuit": {"trip_after": 2, "probe_after_ms": 50, "probe_interval_ms": 50},
                "dead_letter": {"to": "projects/p/topics/dead"},
            }
            | spec
        }
        async with (
            open_edge(settings) as edge,
            open_tool_client(seconds=PATIENCE_SECONDS) as client,
        ):
            control = Control(edge, PATH)
            document = await control.read()
            await control.register()
            runtime = Runtime(_parts(settings, control, document, client, self.folder))
            running = asyncio.create_task(runtime.run())
            try:
                yield runtime
            finally:
                running.cancel()
                await asyncio.wait({running})
                self.is_settled = await runtime.finish(seconds=2)


def _parts(
    settings: Settings, control: Control, document: Document, client: Any, folder: Path
) -> Parts:
    spec = document.spec

    async def no_token() -> str:
        raise AssertionError("an emulator is asked without a token")

    sources = Sources(egress=Egress(), client=client, tokens=no_token, consumer="us")

    async def open_source() -> Source:
        source = await sources.make("pubsub", document.fields, prefetch=10)
        await source.open()
        return source

    letters = DeadLetters(
        control, to=spec.dead_letter.to, settings=settings, source="pubsub", path=PATH
    )
    probe = probe_of(spec.circuit, server_url=settings.server_url, nats_url="")
    spool = make_spool(spec.spool, root=str(folder), servers=[], path=PATH, source="pubsub")
    return Parts(
        control=control,
        document=document,
        open_source=open_source,
        circuit=Circuit(spec.circuit, probe),
        dead_letters=letters,
        spool=spool,
        poll_seconds=0.05,
        beat=lambda: None,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    plane = ControlPlane()
    with serving(plane.answer) as server, running_pubsub(deadline_seconds=20.0) as source:
        plane.url = server.url
        yield World(plane, source, tmp_path)


def dead(world: World) -> list[int]:
    found = [base64.b64decode(one["data"]) for one in world.source.topics.get("dead", [])]
    return [json.loads(body)["data"]["n"] for body in found]


async def until(condition: Callable[[], object]) -> None:
    await eventually(condition)


async def test_w19_a_message_is_started_under_its_key_and_then_acknowledged(
    world: World,
) -> None:
    world.send(1, 2, 3)
    async with world.running():
        await until(lambda: world.source.unacknowledged == 0)

    start = next(one for one in world.plane.started if one["payload"]["n"] == 1)
    assert sorted(world.plane.numbers) == [1, 2, 3]
    assert start["path"] == "sales/take"
    assert start["parent_execution_id"] == "5"
    assert start["dedup"] == {
        "key": "pubsub:projects/p/subscriptions/orders:1",
        "window_secs": 86_400,
        "scope": PATH,
    }
    assert start["payload"]["message"]["data"] == {"n": 1}
    assert (start["payload"]["subscription"], start["payload"]["source"]) == (PATH, "pubsub")
    assert world.is_settled


async def test_headers_decide_what_the_subscription_lets_them(world: World) -> None:
    rules = [
        {"header": "X-Pool", "controls": "dispatch.execution_pool", "allowed": ["fast"]},
        {"header": "X-Key", "controls": "idempotency_key"},
    ]
    world.send(1, 2, **{"X-Pool": "fast", "X-Key": "same"})
    world.send(3, **{"X-Pool": "system"})
    async with world.running(headers={"directives": rules}):
        await until(lambda: world.source.unacknowledged == 0)
        await until(lambda: len(world.plane.events) == 1)

    pools = {one["payload"]["n"]: one.get("execution_pool") for one in world.plane.started}
    assert len(pools) == 2
    assert pools[3] is None
    assert "fast" in pools.values()
    assert world.plane.events[0]["event_type"] == "subscription.message.directives_applied"


async def test_poison_goes_to_the_dead_letters_and_nothing_waits_for_it(world: World) -> None:
    world.plane.refusals = {2: 422, 4: 413}
    world.send(1, 2, 3, 4)
    async with world.running():
        # The dead letters themselves are unacknowledged.
        await until(lambda: sorted(dead(world)) == [2, 4] and world.source.unacknowledged == 2)

    assert sorted(world.plane.numbers) == [1, 3]
    assert {one["event_type"] for one in world.plane.events} == {
        "subscription.message.dead_lettered"
    }


async def test_a_message_with_a_name_that_no_header_takes_is_a_dead_letter_too(
    nats_url: str, bus_prefix: str
) -> None:
    settings = Settings(nats_url=SecretStr(nats_url))
    plane = ControlPlane()
    odd = Message(id="a\r\nNoetl-Dead-Source: b \udcff \u00eb", data={"n": "\udcff"})
    with serving(plane.answer) as server:
        own = settings.model_copy(update={"server_url": server.url})
        async with open_edge(own) as edge, connect(settings, name="test") as bus:
            await ensure_topology(bus, STREAMS)
            letters = DeadLetters(
                Control(edge, PATH), to=None, settings=settings, source="rabbitmq", path=bus_prefix
            )
            is_stored = await letters.bury(odd, None, "why\nnot", cast("Source", None))
            await letters.close()

    assert is_stored
    assert plane.events[0]["event_type"] == "subscription.message.dead_lettered"


async def test_a_message_that_can_t_be_worked_on_holds_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = runtime_module.start_of

    def start_of(message: Message, **given: Any) -> Any:
        if message.data == {"n": 2}:
            raise RuntimeError("nobody thought of that")
        return begun(message, **given)

    monkeypatch.setattr(runtime_module, "start_of", start_of)
    world.send(2, 1, 3)
    async with world.running(limits={"max_in_flight": 1}):
        await until(lambda: world.source.unacknowledged == 1)

    assert sorted(world.plane.numbers) == [1, 3]


async def test_w19_an_outage_leaves_messages_at_the_source(world: World) -> None:
    world.plane.is_down = True
    world.send(*range(10))
    async with world.running():
        await until(lambda: world.plane.asked.count("/api/health") >= 2)
        assert world.source.unacknowledged == 10
        tried = world.plane.asked.count("/api/execute")
        world.plane.is_down = False
        await until(lambda: world.source.unacknowledged == 0)

    assert sorted(world.plane.numbers) == list(range(10))
    # What is in flight finds out, and nobody asks on while the circuit is open.
    assert tried <= 32


async def test_a_playbook_that_is_missing_is_waited_for(world: World) -> None:
    world.plane.refusals = {1: 404}
    world.send(1)
    async with world.running():
        await until(lambda: world.plane.asked.count("/api/execute") >= 3)
        world.plane.refusals.clear()
        await until(lambda: world.source.unacknowledged == 0)

    assert world.plane.numbers == [1]
    assert dead(world) == []


async def test_many_are_started_with_one_request(world: World) -> None:
    world.plane.refusals = {5: 422}
    world.send(*range(12))
    dispatch = {"playbook": "sales/take", "batch_dispatch": True, "batch_max": 6}
    async with world.running(dispatch=dispatch):
        await until(lambda: len(world.plane.started) == 11 and dead(world) == [5])

    # How many come with one read is the source's business.
    assert 2 <= world.plane.asked.count("/api/execute/batch") < 12
    assert world.plane.asked.count("/api/execute") <= 2


async def test_it_is_paused_and_goes_on_as_operators_say(world: World) -> None:
    async with world.running() as runtime:
        await until(lambda: runtime.is_reading)
        world.plane.state = "PAUSED"
        await until(lambda: runtime._is_paused)
        world.send(1)
        pulls = world.source.unacknowledged
        world.plane.state = "ACTIVE"
        await until(lambda: world.source.unacknowledged == 0)

    assert pulls == 1
    assert world.plane.numbers == [1]


async def test_it_ends_when_it_is_drained(world: World) -> None:
    world.send(1)
    async with world.running() as runtime:
        await until(lambda: world.source.unacknowledged == 0)
        world.plane.state = "DRAINING"
        await until(runtime._has_ended.is_set)


async def test_starts_have_a_rate_and_the_log_is_told(world: World) -> None:
    world.send(*range(6))
    async with world.running(limits={"max_dispatch_per_sec": 4}):
        await until(lambda: len(world.plane.started) == 6)

    (told,) = [one for one in world.plane.events if one["status"] == "RATE_LIMITED"]
    assert told["context"]["reason"] == "dispatch_rate"
    assert told["context"]["max_dispatch_per_sec"] == 4


SPOOL = {"mode": "buffer_and_ack", "backend": "local_disk", "path": "orders"}


async def test_a_spool_takes_messages_over_and_starts_them_in_order(world: World) -> None:
    world.plane.is_down = True
    async with world.running(spool=SPOOL, limits={"max_in_flight": 1}):
        world.send(*range(8))
        await until(lambda: world.source.unacknowledged == 0)
        assert world.plane.started == []
        world.plane.is_down = False
        await until(lambda: len(world.plane.started) == 8)
        world.send(8)
        await until(lambda: len(world.plane.started) == 9)
        await until(lambda: not list((world.folder / "orders").glob("*.json")))

    assert world.plane.numbers == list(range(9))


async def test_the_next_process_starts_what_the_spool_kept(world: World) -> None:
    world.plane.is_down = True
    world.send(1, 2)
    async with world.running(spool=SPOOL):
        await until(lambda: world.source.unacknowledged == 0)
    kept = sorted((world.folder / "orders").glob("*.json"))
    kept[0].write_text(kept[0].read_text().replace('"n":', '"m":'))
    world.plane.is_down = False

    async with world.running(spool=SPOOL):
        await until(lambda: len(world.plane.started) == 1)
        await until(lambda: not list((world.folder / "orders").glob("*.json")))

    # One that was changed on the disk is nobody's message.
    assert len(list((world.folder / "orders" / "dlq").glob("*.json"))) == 1


async def test_a_full_spool_leaves_messages_at_the_source(world: World) -> None:
    world.plane.is_down = True
    world.send(*range(6))
    async with world.running(spool=SPOOL | {"max_messages": 2}, limits={"max_in_flight": 1}):
        await until(lambda: world.source.unacknowledged == 4)
        world.plane.is_down = False
        await until(lambda: len(world.plane.started) == 6)

    assert sorted(world.plane.numbers) == list(range(6))


@pytest.mark.parametrize(
    ("spool", "root", "text"),
    [
        ({"backend": "s3", "bucket": "b"}, "/x", "'s3' is not run by this worker"),
        ({"backend": "local_disk", "path": "orders"}, "", "NOETL_SUBSCRIPTION_SPOOL_DIR"),
        ({"backend": "local_disk", "path": "../other"}, "/x/y", "has to lead below /x/y"),
        ({"backend": "local_disk", "path": "/etc"}, "/x/y", "has to lead below /x/y"),
        ({"backend": "nats_object"}, "", "requires a 'bucket'"),
    ],
)
def test_a_spool_that_can_t_be_had_is_refused(spool: dict[str, Any], root: str, text: str) -> None:
    spec = SpoolSpec.model_validate({"mode": "hybrid"} | spool)
    with pytest.raises(WrongSource, match=text):
        make_spool(spec, root=root, servers=[], path=PATH, source="nats")


async def test_objects_of_nats_keep_messages_too(nats_url: str, bus_prefix: str) -> None:
    store = ObjectsStore([nats_url], bucket=bus_prefix)
    assert await store.open() == {}
    await store.put(7, b"seven")
    await store.put(8, b"eight")
    await store.bury(7, b"seven")
    await store.delete(7)
    await store.delete(7)
    await store.close()

    other = ObjectsStore([nats_url], bucket=bus_prefix)
    assert await other.open() == {8: 5}
    assert await other.get(8) == b"eight"
    await other.close()
    with pytest.raises(SpoolAway):
        await ObjectsStore([nats_url], bucket="x").get(1)


async def test_hybrid_keeps_only_what_was_taken_already(world: World) -> None:
    world.plane.is_down = True
    world.send(*range(6))
    spool = SPOOL | {"mode": "hybrid"}
    async with world.running(spool=spool, limits={"max_in_flight": 2}):
        await until(lambda: world.source.unacknowledged == 4)
        await until(lambda: world.plane.asked.count("/api/health") >= 3)
        assert world.source.unacknowledged == 4
        world.plane.is_down = False
        await until(lambda: len(world.plane.started) == 6)

    assert sorted(world.plane.numbers) == list(range(6))

"""The fast path over HTTP against a scripted edge."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import orjson
import pytest
from message_worker import REPEATING, Gate, hear_of_ends
from msgspec import convert
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_contract.ingress import IngressMessage
from noetl_contract.streams import STREAMS, pool_durable
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.commands import command_of, decode_notification
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import EdgeResultStore
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.output.channels import EdgeOutput
from noetl_worker.output.outputs import Outputs
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Reporter
from noetl_worker.run.runner import Runner
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolParts
from noetl_worker.transports.fast.claims import Claims
from noetl_worker.transports.fast.message import Message
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.over_edge import EdgeChannel
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.transport import FastTransport
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.http import HttpTransport
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads
from worker_control_plane import Pulling, granted, make_command, make_notification
from worker_edge import ScriptedEdge, make_credentials, scripted_edge

REPORTS = "/api/commands/{}/reports"


@pytest.fixture
def edge() -> Iterator[ScriptedEdge]:
    with scripted_edge() as made:
        yield made


class EdgeWorker(Pulling):
    def __init__(
        self,
        bus: Bus,
        gate: Gate,
        *,
        identity: Identity,
        channel: EdgeChannel,
        transport: FastTransport,
        pulling: asyncio.Task[None],
    ) -> None:
        super().__init__(bus)
        self.gate = gate
        self.instance = identity.instance
        self.channel = channel
        self.transport = transport
        self._pulling = pulling

    async def stop_pulling(self) -> None:
        """Take no more, and let what runs end within the drain."""
        self._pulling.cancel()
        await asyncio.wait([self._pulling])


@pytest.fixture
def start_worker(interpreters: InterpreterPool, nats_url: str, edge: ScriptedEdge) -> Any:
    @asynccontextmanager
    async def start(*, drain_seconds: float = 3) -> AsyncIterator[EdgeWorker]:
        settings = Settings(worker_id="w-1", server_url=edge.url)
        ids, runs, gate, hearing = count(100), Runs(), Gate(), Hearing()
        identity = Identity.of_this_process(settings)
        async with (
            httpx.AsyncClient() as http,
            open_edge(settings) as calls,
            connect(NatsSettings(nats_url=nats_url), name="w-1") as bus,
        ):
            await ensure_topology(bus, STREAMS, (pool_durable("shared"),))
            tools = load_tools(
                ToolParts(settings=settings, http=http, interpreters=interpreters, edge=calls)
            )
            runner = Runner(
                toolbox=ToolRegistry({**tools._tools, "gate": gate}),
                worker_id="w-1",
                secrets={},
                credentials=make_credentials(calls),
                outputs=Outputs(EdgeOutput(edge)),
                limits=PolicyLimits(),
            )
            reporter = Reporter(worker_id="w-1", next_id=ids.__next__)
            channel, workloads = EdgeChannel(calls), Workloads(1 << 20)
            work = Work(runner, EdgeResultStore(calls), runs)
            over_http = HttpTransport(
                calls,
                identity=identity,
                work=work,
                reporter=reporter,
                workloads=workloads,
            )
            timing = replace(REPEATING, start_after_seconds=0.05)
            transport = FastTransport(
                Messages(
                    channel,
                    identity=identity,
                    reporter=reporter,
                    pending_outcomes=PendingOutcomes(most=100, most_bytes=1 << 20),
                    timing=timing,
                ),
                claims=Claims(channel, identity=identity, timing=timing, workloads=workloads),
                control=over_http,
                work=work,
                other=over_http,
                hearing=hearing,
            )
            assert await transport.register()
            heeding = await hear_of_ends(bus, runs, hearing)
            pulling = asyncio.create_task(
                run_pull_each(
                    bus,
                    pool_durable("shared"),
                    transport.handle,
                    permits=4,
                    drain_seconds=drain_seconds,
                )
            )
            tasks = [pulling, heeding, asyncio.create_task(transport.run_confirmations())]
            try:
                yield EdgeWorker(
                    bus,
                    gate,
                    identity=identity,
                    channel=channel,
                    transport=transport,
                    pulling=pulling,
                )
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    return start


def note_of(edge: ScriptedEdge, action: str = "noop", **changes: Any) -> dict[str, Any]:
    address = edge.url.replace("//", "//7.1:1.secret@")
    given = {"command": make_command(action), "server_url": address, **changes}
    return make_notification(1, **given)


def types_of(report: dict[str, Any]) -> list[str]:
    return [event["event_type"] for event in report["events"]]


async def reports(edge: ScriptedEdge, number: int) -> list[dict[str, Any]]:
    found = lambda: edge.bodies(REPORTS.format(1))  # noqa: E731
    await eventually(lambda: len(found()) >= number, what=f"{number} reports")
    return found()


async def test_a_quick_command_is_one_call(edge: ScriptedEdge, start_worker: Any) -> None:
    edge.claim = lambda _event_id, _count: (200, {"status": "ok"})

    async with start_worker() as worker:
        await worker.notify(note_of(edge))
        (outcome,) = await reports(edge, 1)
        await worker.all_acked()

    convert(outcome, IngressMessage)
    assert outcome["type"] == "command.outcome"
    assert types_of(outcome) == ["command.started", "call.done", "command.completed"]
    assert outcome["hold"] == {
        "event_id": 1,
        "command_id": "7:start:1",
        "step": "start",
        "attempts": 0,
        "worker_id": "w-1",
        "instance": worker.instance,
        "fence": "1.secret",
    }
    assert [path for _, path, _ in edge.calls[1:]] == [REPORTS.format(1)]
    assert edge.headers[1]["authorization"].startswith("Basic ")


async def test_a_tool_that_takes_longer_is_told_of_before_it_ends(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    edge.claim = lambda _event_id, number: (200, {"status": "held" if number == 0 else "ok"})

    async with start_worker() as worker:
        await worker.notify(note_of(edge, "gate"))
        (start,) = await reports(edge, 1)
        worker.gate.open.set()
        _, outcome = await reports(edge, 2)

    assert (start["type"], types_of(start)) == ("command.start", ["command.started"])
    assert outcome["events"][0] == start["events"][0]


async def test_a_run_that_another_worker_has_is_stopped(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    edge.claim = lambda _event_id, _count: (200, {"status": "lost", "reason": "taken"})

    async with start_worker() as worker:
        await worker.notify(note_of(edge, "gate"))
        await eventually(lambda: worker.gate.killed, what="the tool is stopped")
        await worker.all_acked()

    assert [report["type"] for report in edge.bodies(REPORTS.format(1))] == ["command.start"]


async def test_an_outcome_is_posted_until_it_is_taken(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    answers = [(503, {"error": "busy"}), (429, {"error": "busy"}), (200, {"status": "ok"})]
    edge.claim = lambda _event_id, number: answers[min(number, 2)]

    async with start_worker() as worker:
        await worker.notify(note_of(edge))
        sent = await reports(edge, 3)
        await worker.all_acked()

    assert sent[0] == sent[1] == sent[2]


async def test_what_is_refused_for_good_ends_its_step(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    answers = [(422, {"error": "no"}), (200, {"status": "ok"})]
    edge.claim = lambda _event_id, number: answers[min(number, 1)]

    async with start_worker() as worker:
        await worker.notify(note_of(edge))
        _, instead = await reports(edge, 2)

    assert types_of(instead) == ["command.started", "call.error", "command.failed"]


async def test_a_command_that_is_not_in_its_notification_is_claimed(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    note = note_of(edge, command=None)

    def answer(_event_id: int, _count: int) -> tuple[int, Any]:
        _, path, body = edge.calls[-1]
        if path.endswith("/claim"):
            return 200, granted(note, make_command("gate"), attempts=1)
        return 200, {"status": "held" if body["type"] == "command.start" else "ok"}

    edge.claim = answer
    async with start_worker() as worker:
        await worker.notify(note)
        await reports(edge, 1)
        worker.gate.open.set()
        start, outcome = await reports(edge, 2)

    (claim,) = edge.bodies("/api/commands/1/claim")
    assert claim == {"worker_id": "w-1", "instance": worker.instance, "known_workload": 0}
    assert start["hold"]["attempts"] == outcome["hold"]["attempts"] == 1


async def test_what_is_repeated_and_refused_for_good_ends_its_step(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    answers = [(200, {"status": "what?"}), (422, {"error": "no"}), (200, {"status": "ok"})]
    edge.claim = lambda _event_id, number: answers[min(number, 2)]

    async with start_worker() as worker:
        await worker.notify(note_of(edge))
        first, again, instead = await reports(edge, 3)
        await worker.transport.settle(seconds=PATIENCE_SECONDS)

    assert first == again
    assert types_of(instead) == ["command.started", "call.error", "command.failed"]


async def test_a_claim_is_asked_for_until_it_is_answered(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    note = note_of(edge, command=None)
    answers = [
        (200, {"status": "retry"}),
        (503, {"error": "busy"}),
        (200, {"status": "ok"}),
        (200, granted(note, make_command("noop"), attempts=1)),
    ]

    def answer(_event_id: int, number: int) -> tuple[int, Any]:
        if edge.calls[-1][1].endswith("/claim"):
            return answers[number]
        return 200, {"status": "ok"}

    edge.claim = answer
    async with start_worker() as worker:
        await worker.notify(note)
        await worker.all_acked()
        await eventually(lambda: edge.bodies(REPORTS.format(1)), what="it runs")

    assert len(edge.bodies("/api/commands/1/claim")) == 4


async def test_an_outcome_cut_off_by_the_end_of_the_drain_is_still_sent(
    edge: ScriptedEdge, start_worker: Any
) -> None:
    answers = {"now": (503, {"error": "busy"})}
    edge.claim = lambda _event_id, _count: answers["now"]

    async with start_worker(drain_seconds=0.1) as worker:
        await worker.notify(note_of(edge))
        await reports(edge, 1)
        await worker.stop_pulling()
        answers["now"] = (200, {"status": "ok"})
        before = len(edge.bodies(REPORTS.format(1)))
        await worker.transport.settle(seconds=PATIENCE_SECONDS)

    assert len(edge.bodies(REPORTS.format(1))) > before


@asynccontextmanager
async def channel_to(edge: ScriptedEdge) -> AsyncIterator[EdgeChannel]:
    async with open_edge(Settings(worker_id="w-1", server_url=edge.url)) as calls:
        yield EdgeChannel(calls)


def message_to(channel: EdgeChannel, event_id: int, answers: list[int]) -> Message:
    command = command_of(
        decode_notification(orjson.dumps(make_notification(event_id, command=make_command("noop"))))
    )
    assert command is not None
    message = Message("start", replace(command, server_url=""), b"{}")
    message.reply = channel.open(message, lambda _answer: answers.append(event_id))
    return message


async def test_a_post_that_nobody_waits_for_goes_on(edge: ScriptedEdge) -> None:
    """A tool has ended while its start is on the way: its connection is kept, its answer heard."""
    release, answers = threading.Event(), []

    def answer(_event_id: int, _count: int) -> tuple[int, Any]:
        release.wait(10)
        return 200, {"status": "held"}

    edge.claim = answer
    async with channel_to(edge) as channel:
        sending = asyncio.create_task(
            channel.send(message_to(channel, 1, answers), "id", seconds=PATIENCE_SECONDS)
        )
        await eventually(lambda: edge.bodies(REPORTS.format(1)), what="it is posted")
        sending.cancel()
        await asyncio.wait([sending])
        release.set()
        await eventually(lambda: answers == [1], what="the answer is heard")


async def test_a_slow_post_holds_up_no_other_and_is_not_posted_twice(edge: ScriptedEdge) -> None:
    release, answers = threading.Event(), []

    def answer(event_id: int, _count: int) -> tuple[int, Any]:
        if event_id == 1:
            release.wait(10)
        return 200, {"status": "held"}

    edge.claim = answer
    async with channel_to(edge) as channel:
        slow, quick = message_to(channel, 1, answers), message_to(channel, 2, answers)
        await channel.send_again([(slow, "1"), (quick, "2")])
        await eventually(lambda: answers == [2], what="the quick one is answered")
        await channel.send_again([(slow, "1")])
        first = asyncio.create_task(channel.send(slow, "1", seconds=PATIENCE_SECONDS))
        release.set()
        await first

    assert answers == [2, 1]
    assert len(edge.bodies(REPORTS.format(1))) == 1

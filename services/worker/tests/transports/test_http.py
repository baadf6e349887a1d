"""The original worker's protocol against a scripted edge."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_contract.streams import STREAMS, pool_durable
from noetl_testkit.waiting import eventually
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
from noetl_worker.tools.registry import load_tools
from noetl_worker.tools.tool import ToolParts
from noetl_worker.transports.http import HttpTiming, HttpTransport
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads
from worker_control_plane import Pulling, make_command
from worker_edge import ScriptedEdge, make_credentials, scripted_edge

QUICK = HttpTiming(
    nak_seconds=0.05,
    longest_nak_seconds=0.2,
    longest_later_seconds=0.2,
    post_pause_seconds=0.01,
    longest_post_pause_seconds=0.05,
)


@pytest.fixture
def edge() -> Iterator[ScriptedEdge]:
    with scripted_edge() as made:
        yield made


def make_note(edge: ScriptedEdge, *, event_id: int = 1, login: str = "") -> dict[str, Any]:
    """Return a notification as the original server publishes it: no fast part."""
    return {
        "execution_id": 7,
        "event_id": event_id,
        "command_id": f"7:start:{event_id}",
        "step": "start",
        "server_url": edge.url.replace("//", f"//{login}"),
    }


def grant(action: str = "noop", *, attempts: int | None = None, **context: Any) -> tuple[int, Any]:
    command = make_command(action, **context)
    meta: dict[str, Any] = {"command_id": "7:start:1", "step": "start", "attempt": 1}
    if attempts is not None:
        meta["attempts"] = attempts
    return 200, {
        "status": "ok",
        "event_id": 1,
        "execution_id": 7,
        "node_id": "start",
        "node_name": "start",
        "action": action,
        "context": command["context"],
        "meta": meta,
    }


class HttpWorker(Pulling):
    def __init__(self, bus: Bus, transport: HttpTransport) -> None:
        super().__init__(bus)
        self.transport = transport


type StartWorker = Any


@pytest.fixture
def start_worker(interpreters: InterpreterPool, nats_url: str, edge: ScriptedEdge) -> StartWorker:
    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[HttpWorker]:
        settings = Settings(worker_id="w-1", server_url=edge.url, **changes)
        ids = iter(range(100, 10**9))
        async with (
            httpx.AsyncClient() as http,
            open_edge(settings) as calls,
            connect(NatsSettings(nats_url=nats_url), name="w-1") as bus,
        ):
            await ensure_topology(bus, STREAMS, (pool_durable("shared"),))
            tools = load_tools(
                ToolParts(settings=settings, http=http, interpreters=interpreters, edge=calls)
            )
            transport = HttpTransport(
                calls,
                identity=Identity.of_this_process(settings),
                work=Work(
                    Runner(
                        toolbox=tools,
                        worker_id="w-1",
                        secrets={},
                        credentials=make_credentials(calls),
                        outputs=Outputs(EdgeOutput(edge)),
                        limits=PolicyLimits(),
                    ),
                    EdgeResultStore(calls),
                    Runs(),
                ),
                reporter=Reporter(worker_id="w-1", next_id=ids.__next__),
                workloads=Workloads(1 << 20),
                timing=QUICK,
            )
            pulling = asyncio.create_task(
                run_pull_each(
                    bus, pool_durable("shared"), transport.handle, permits=4, drain_seconds=3
                )
            )
            try:
                yield HttpWorker(bus, transport)
            finally:
                pulling.cancel()
                await asyncio.wait([pulling])

    return start


async def finished(edge: ScriptedEdge, *, count: int = 3) -> list[Any]:
    await eventually(lambda: len(edge.events) >= count, what=f"{count} events")
    return edge.events


async def test_a_large_workload_is_fetched_once(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    """From our own control plane, whose notifications have a fast part."""
    workload = {"rows": [{"id": 5}]}
    context = {
        "tool_config": {"result": {"id": "{{ workload.rows[0].id }}"}},
        "render_context": {},
        "named_workload": {"position": 1, "ctx": True},
    }

    def answer(event_id: int, _count: int) -> tuple[int, Any]:
        status, body = grant()
        brought = {"workload": workload} if event_id == 1 else {}
        meta = {**body["meta"], "command_id": f"7:start:{event_id}"}
        return status, {**body, "event_id": event_id, "context": context, "meta": meta, **brought}

    edge.claim = answer
    fast = {"v": 1, "shard": 0, "attempts": 0}
    async with start_worker() as worker:
        for event_id in (1, 2):
            await worker.notify(make_note(edge, event_id=event_id) | {"fast": fast})
            await finished(edge, count=3 * event_id)
        await worker.all_acked()

    for event_id, known in ((1, 0), (2, 1)):
        claim = {"worker_id": "w-1", "known_workload": known}
        assert edge.bodies(f"/api/commands/{event_id}/claim") == [claim]
    results = [one["context"]["result"] for one in edge.events if one["event_type"] == "call.done"]
    assert [one["context"]["data"]["id"] for one in results] == [5, 5]


async def test_a_command_is_claimed_started_called_and_completed(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant(
        config={"result": {"n": "{{ n }}"}}, variables={"n": 3}
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge, login="7.1:1.secret@"))
        events = await eventually_events(edge, "/api/events")
        await worker.all_acked()

    assert edge.calls[0] == ("POST", "/api/commands/1/claim", {"worker_id": "w-1"})
    for event in events:
        assert event.pop("created_at").endswith("Z")
    common = {"execution_id": 7, "step": "start", "worker_id": "w-1", "meta": {"attempts": 0}}
    assert [
        {
            **common,
            "event_type": "command.started",
            "status": "STARTED",
            "event_id": 100,
            "context": {"command_id": "7:start:1"},
        },
        {
            **common,
            "event_type": "call.done",
            "status": "COMPLETED",
            "event_id": 101,
            "context": {
                "command_id": "7:start:1",
                "call_index": 0,
                "result": {
                    "status": "success",
                    "context": {"status": "success", "data": {"n": 3}},
                },
            },
        },
        {
            **common,
            "event_type": "command.completed",
            "status": "success",
            "event_id": 102,
            "context": {"command_id": "7:start:1", "status": "success"},
        },
    ] == events


async def eventually_events(edge: ScriptedEdge, path: str) -> list[Any]:
    await eventually(lambda: len(edge.bodies(path)) >= 3, what="three events")
    return edge.bodies(path)


async def test_a_raised_error_ends_in_the_failure_pair(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant("workbook", attempts=2)

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge)

    text = "Tool not found: workbook"
    assert [e["event_type"] for e in events] == ["command.started", "call.error", "command.failed"]
    assert {"command_id": "7:start:1", "call_index": 0, "error": text} == events[1]["context"]
    assert {"command_id": "7:start:1", "error": text} == events[2]["context"]
    assert [event["meta"] for event in events] == [{"attempts": 2}] * 3


async def test_an_error_status_still_completes(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant("python", config={"code": "sys.exit(1)"})

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge)

    assert [event["status"] for event in events] == ["STARTED", "COMPLETED", "error"]
    assert events[2]["context"] == {"command_id": "7:start:1", "status": "error"}


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"timeout": "30"}, {}),
        ({"timeout": -1}, {}),
        ({"timeout": 1.5}, {}),
        ({"retry": 3}, {}),
        ({"auth": {"type": "magic"}}, {}),
        ({"auth": {}}, {}),
    ],
)
async def test_a_malformed_configuration_fails_before_the_tool(
    edge: ScriptedEdge, start_worker: StartWorker, config: Any, context: Any
) -> None:
    edge.claim = lambda _event_id, _count: grant(config=config, **context)

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge)

    assert events[2]["context"]["error"].startswith(
        "malformed tool config (pre-dispatch deserialization): "
    )


async def test_a_credential_is_asked_of_the_edge_that_published_the_command(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant("http", config={"url": "x", "auth": "pg"})

    async with start_worker() as worker:
        await worker.notify(make_note(edge, login="7.1:1.secret@"))
        events = await eventually_events(edge, "/api/events")

    asked = [path for _, path, _ in edge.calls if "credentials" in path]
    assert asked == ["/api/credentials/pg?include_data=true&execution_id=7"]
    assert [e["event_type"] for e in events] == ["command.started", "call.error", "command.failed"]
    assert events[2]["context"]["error"].startswith("Credential alias 'pg' not found in keychain")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 404, 400])
async def test_a_claim_that_is_not_answered_well_is_asked_again_after_a_pause(
    edge: ScriptedEdge, start_worker: StartWorker, status: int
) -> None:
    edge.claim = lambda _event_id, count: (
        (status, {"error": "no", "status": status}) if count < 3 else grant()
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await finished(edge)

    assert len(edge.bodies("/api/commands/1/claim")) == 4


async def test_a_claim_of_another_shape_does_not_end_the_worker(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    answers = [(200, b"no json"), (200, {"status": "ok"}), grant()]
    edge.claim = lambda _event_id, count: answers[count]

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await finished(edge)

    assert len(edge.bodies("/api/commands/1/claim")) == 3


async def test_an_unreachable_edge_does_not_end_the_worker(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant()

    async with start_worker() as worker:
        away = make_note(edge, event_id=9) | {"server_url": "http://127.0.0.1:1"}
        await worker.notify(away)
        await worker.notify(make_note(edge))
        await finished(edge)

    assert len(edge.events) == 3


async def test_a_refused_claim_is_acknowledged(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await eventually(lambda: edge.calls, what="it claims")
        await worker.all_acked()

    assert len(edge.calls) == 1


async def test_a_command_in_hand_is_not_claimed_again(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant(
        "python", config={"code": "import time; time.sleep(0.5)"}
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await eventually(lambda: edge.events, what="it has started")
        await worker.notify(make_note(edge))
        await finished(edge)
        await worker.notify(make_note(edge))
        await worker.all_acked()

    assert len(edge.bodies("/api/commands/1/claim")) == 1
    assert len(edge.events) == 3


async def test_events_are_posted_again_under_their_id(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant()
    edge.event = lambda _event, count: (500 if count % 3 < 2 else 200, {})

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge, count=9)

    assert [event["event_id"] for event in events] == [100] * 3 + [101] * 3 + [102] * 3
    assert len({orjson.dumps(event) for event in events}) == 3


async def test_without_its_start_no_tool_runs(
    edge: ScriptedEdge, start_worker: StartWorker, tmp_path: Any
) -> None:
    path = tmp_path / "ran"
    edge.claim = lambda _event_id, _count: grant(
        "python", config={"code": f"open({str(path)!r}, 'w').close()"}
    )
    edge.event = lambda _event, _count: (503, {})

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await finished(edge, count=4)
        await eventually(lambda: 1 not in worker.transport._known, what="it gave up")
        before = [event["event_type"] for event in edge.events]
        has_run = path.exists()
        edge.event = lambda _event, _count: (200, {})
        # The lease is over: the command comes again.
        await worker.notify(make_note(edge))
        await finished(edge, count=7)

    assert before == ["command.started"] * 4
    assert not has_run
    assert path.exists()


async def test_an_outcome_is_posted_until_it_is_taken(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant()
    edge.event = lambda event, count: (
        503 if event["event_type"] == "call.done" and count < 10 else 200,
        {},
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge, count=12)

    kinds = [event["event_type"] for event in events]
    assert ["command.started", *["call.done"] * 10, "command.completed"] == kinds


async def test_an_outcome_that_will_never_be_taken_is_dropped(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant()
    edge.event = lambda event, _count: (
        422 if event["event_type"] == "call.done" else 200,
        {"error": "no"},
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await finished(edge, count=5)
        await eventually(lambda: 1 not in worker.transport._known, what="it gave up")

    assert ["command.started", *["call.done"] * 4] == [e["event_type"] for e in edge.events]


async def test_a_large_result_is_put_first(edge: ScriptedEdge, start_worker: StartWorker) -> None:
    edge.claim = lambda _event_id, _count: grant(
        "python", config={"code": "result = {'big': 'x' * 110_000}"}
    )

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge)

    assert [call[0] for call in edge.calls] == ["POST", "POST", "PUT", "POST", "POST"]
    (put,) = edge.bodies("/api/result/7")
    assert {"name", "data", "scope", "source_step"} == set(put)
    assert (put["name"], put["scope"], put["source_step"]) == ("start", "execution", "start")
    assert events[1]["context"]["result"]["context"]["data"] == {
        "_ref": "noetl://execution/7/result/start/1"
    }


async def test_a_result_that_could_not_be_put_fails_its_step(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant(
        "python", config={"code": "result = {'big': 'x' * 110_000}"}
    )
    edge.result = lambda _body: (413, {"error": "too large"})

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        events = await finished(edge)

    assert [one["event_type"] for one in events[1:]] == ["call.error", "command.failed"]
    assert "bytes and is lost: the result store answered 413" in events[2]["context"]["error"]


async def test_registration_heartbeat_and_end(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.pool = lambda operation, count: (
        404 if operation == "heartbeat" and count == 0 else 200,
        {},
    )

    async with start_worker(internal_api_token="t0ken") as worker:
        registered = await worker.transport.register()
        known = [await worker.transport.heartbeat() for _ in range(2)]
        await worker.transport.deregister()

    assert registered
    assert known == [False, True]
    (registration,) = edge.bodies("/api/worker/pool/register")
    assert registration["name"] == "w-1"
    assert registration["component_type"] == "worker_pool"
    assert registration["status"] == "ready"
    assert registration["labels"] == {"pool_name": "default"}
    assert worker.transport._identity.instance == registration["runtime"]["instance"]
    assert edge.bodies("/api/worker/pool/heartbeat") == [{"name": "w-1"}] * 2
    assert edge.bodies("/api/worker/pool/deregister") == [
        {"name": "w-1", "component_type": "worker_pool"}
    ]
    assert {"Bearer t0ken"} == {headers["authorization"] for headers in edge.headers}


async def test_the_answer_to_a_heartbeat_stops_what_is_over(
    edge: ScriptedEdge, start_worker: StartWorker
) -> None:
    edge.claim = lambda _event_id, _count: grant("shell", config={"command": "sleep 3600"})
    over = {"execution_id": 7, "event_id": 1, "attempts": 0}
    edge.pool = lambda _operation, _count: (200, {"status": "ok", "over": [over]})

    async with start_worker() as worker:
        await worker.notify(make_note(edge))
        await eventually(worker.transport._runs.named, what="the command runs")
        assert await worker.transport.heartbeat()
        await eventually(lambda: not worker.transport._runs.named(), what="it is stopped")
        await worker.transport.heartbeat()

    assert edge.bodies("/api/worker/pool/heartbeat") == [
        {"name": "w-1", "commands": [over]},
        {"name": "w-1"},
    ]
    assert [event["event_type"] for event in edge.events] == ["command.started"]

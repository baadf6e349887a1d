"""Reasons for which an execution waits: each from its rows, in words."""

from datetime import UTC, datetime, timedelta

import pytest
from noetl_api_gateway.routes.executions.repair.reasons import reasons_for, workers_of
from noetl_contract.http.executions.why import (
    OpenChild,
    OpenCommand,
    OpenLoop,
    OpenTimer,
    OpenWork,
    PoolLoad,
    Reason,
    WhyWorker,
)
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.workers.pauses import Pause
from noetl_contract.http.workers.runtimes import RuntimeEntry
from noetl_contract.json import Json

NOW = datetime(2026, 6, 15, 10, 0, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    """A moment before now; negative ones are to come."""
    return rfc3339(NOW - timedelta(seconds=seconds))


def command(**fields: Json) -> OpenCommand:
    given = {"tool_kind": "python", "pool": "gpu", "status": "PENDING", "issued_at": at(12)}
    return OpenCommand(**{"event_id": 5, "step": "load", **given, **fields})


def worker(**fields: Json) -> WhyWorker:
    given = {"name": "w1", "pool": "gpu", "status": "ready", "heartbeat": at(2), "kinds": None}
    return WhyWorker(**{**given, **fields})


def work(**fields: Json) -> OpenWork:
    given = {"path": "p", "status": "RUNNING", "started_at": at(60), "now": at(0)}
    return OpenWork(**{"execution_id": 1, **given, **fields})


def told(found: OpenWork, *workers: WhyWorker) -> Reason:
    (reason,) = reasons_for(found, list(workers))
    return reason


HELD = {"status": "RUNNING", "worker_id": "w1", "holds": 1, "claimed_at": at(9)}


@pytest.mark.parametrize(
    ("fields", "workers", "code", "text"),
    [
        (
            {},
            [],
            "no_worker",
            "step 'load' waits for a worker: no worker of pool 'gpu' is registered",
        ),
        (
            {},
            [worker(heartbeat=at(300))],
            "no_worker",
            "no worker of pool 'gpu' is alive: w1 was heard last, 5m ago",
        ),
        (
            {},
            [worker(kinds=["http"]), worker(name="w2", kinds=["shell"])],
            "no_worker_for_kind",
            "none of the 2 of pool 'gpu' runs tool 'python'",
        ),
        (
            {},
            [worker(kinds=["python"]), worker(name="w2")],
            "workers_busy",
            "waits for one of 2 workers (w1, w2) of pool 'gpu' since 12s",
        ),
        (
            {"outbox_status": "FAILED", "outbox_error": "no responders"},
            [worker()],
            "not_published",
            "step 'load': its command is committed and not published yet: no responders",
        ),
        (
            {"outbox_status": "PARKED", "outbox_error": "too large"},
            [worker()],
            "parked_outbox",
            "its command can't be published: too large",
        ),
        ({**HELD, "status": "CLAIMED"}, [worker()], "claimed", "worker w1 has taken it 9s ago"),
        (
            {**HELD, "started_at": at(8), "iteration": 3, "holds": 2},
            [worker()],
            "running",
            "step 'load' (iteration 3) runs at worker w1 since 8s, attempt 2",
        ),
        (
            {**HELD, "started_at": at(8), "lease_until": at(-20)},
            [worker(heartbeat=at(90))],
            "worker_silent",
            "step 'load': its worker w1 was heard last 1m 30s ago; its lease is looked at in 20s",
        ),
        ({**HELD, "started_at": at(8)}, [], "worker_silent", "w1 is not registered any more"),
        (
            {"status": "RUNNING", "started_at": at(30)},
            [worker()],
            "callback",
            "its tool has begun something that reports back by a callback",
        ),
    ],
)
def test_a_command_says_what_it_waits_for(
    fields: Json, workers: list[WhyWorker], code: str, text: str
) -> None:
    reason = told(work(commands=[command(**fields)]), *workers)

    assert reason.code == code
    assert text in reason.text
    assert reason.step == "load"


def test_the_load_of_the_pool_is_told() -> None:
    load = PoolLoad(pool="gpu", waiting=40, running=8)
    reason = told(work(commands=[command()], pools=[load]), worker())

    assert reason.text.endswith("the pool runs 8 commands, and 40 wait")


def test_the_time_limit_of_a_run_is_told() -> None:
    limit = OpenTimer(
        kind="step_timeout", due_at=at(-50), created_at=at(8), payload={"event_id": 5}
    )
    held = command(**HELD, started_at=at(8))

    assert told(work(commands=[held], timers=[limit]), worker()).due_at == at(-50)


def test_alike_iterations_are_told_once() -> None:
    commands = [command(iteration=number, event_id=number) for number in range(4)]

    assert told(work(commands=commands)).text.endswith("(and 3 more iterations)")


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (
            {"status": "FAILED", "error": "it broke", "ended_at": at(3)},
            "ended",
            "it ended FAILED: it broke",
        ),
        (
            {
                "timers": [
                    OpenTimer(
                        kind="wait",
                        due_at=at(-3600),
                        created_at=at(60),
                        payload={"step": "ask", "signal": "approve"},
                    )
                ]
            },
            "wait",
            "step 'ask' waits for the signal 'approve'; it ends by itself in 1h",
        ),
        (
            {"timers": [OpenTimer(kind="continue", due_at=at(-5), created_at=at(0))]},
            "timer",
            "the next part of a large fan-out is issued in 5s at the latest",
        ),
        (
            {
                "children": [
                    OpenChild(
                        execution_id="9",
                        path="child/one",
                        status="RUNNING",
                        started_at=at(5),
                        step="start",
                    )
                ],
                "child_count": 1,
            },
            "child",
            "child execution 9 (child/one) runs, at step 'start'",
        ),
        (
            {
                "loops": [
                    OpenLoop(step="each", total=10, in_flight=2, ended=3, limit=2, since=at(9))
                ]
            },
            "loop_limit",
            "loop 'each' runs at most 2 of its 10 iterations at once: 3 have ended, 5 wait",
        ),
        ({"origin_execution_id": "7"}, "taking_over", "what execution 7 has done"),
        ({"pending_outbox": 3, "pending_since": at(4)}, "not_published", "3 rows of its outbox"),
        ({}, "nothing_open", "nothing of it is open"),
    ],
)
def test_everything_else_says_so_too(fields: Json, code: str, text: str) -> None:
    reason = told(work(**fields))

    assert reason.code == code
    assert text in reason.text


def test_workers_say_their_pool_and_what_they_run() -> None:
    entry = RuntimeEntry(
        runtime_id=1,
        name="w1",
        kind="worker_pool",
        uri=None,
        status="ready",
        labels={"pool_name": "default"},
        capabilities={"tools": ["http", "python"]},
        capacity=None,
        runtime=None,
        heartbeat=at(1),
        created_at=at(1),
        updated_at=at(1),
    )
    ours, real = workers_of([entry, entry.model_copy(update={"capabilities": None})])

    assert (ours.pool, ours.kinds) == ("shared", ["http", "python"])
    assert real.kinds is None


@pytest.mark.parametrize(
    ("kind", "name", "is_held"),
    [
        ("path", "reports", True),
        ("path", "reports/nightly", True),
        ("path", "report", False),
        ("pool", "gpu", True),
        ("pool", "cpu", False),
    ],
)
def test_a_pause_is_told_in_place_of_the_commands_that_it_withholds(
    kind: str, name: str, *, is_held: bool
) -> None:
    pause = Pause(kind=kind, name=name, reason="drivers", actor=None, since=at(30))
    held = work(
        path="reports/nightly",
        commands=[command(), command(event_id=6, step="save"), command(event_id=7, **HELD)],
    )
    reasons = reasons_for(held, [worker()], pauses=[pause])

    assert [one.code for one in reasons] == (
        ["paused", "claimed"] if is_held else ["workers_busy", "workers_busy", "claimed"]
    )
    if is_held:
        assert reasons[0].text == (
            f"steps 'load', 'save' are not handed out: {kind} '{name}' is paused (drivers)"
        )
        assert reasons[0].since == at(30)


def test_the_pause_of_an_execution_names_who_and_since_when() -> None:
    timer = OpenTimer(
        kind="pause",
        due_at=at(-1e9),
        created_at=at(90),
        payload={"actor": "key:ann", "reason": "the supplier is down"},
    )
    (reason,) = reasons_for(work(timers=[timer]), [])

    assert (reason.code, reason.actor, reason.since) == ("paused", "key:ann", at(90))
    assert reason.text == (
        "the execution is paused by key:ann (the supplier is down); it issues no new command"
    )

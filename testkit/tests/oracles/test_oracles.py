"""Oracles find what is planted in a real run: each test plants one fault in a log that has none."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
from noetl_testkit.oracles.effects import Effect, Ledger, check_effects, counting, results_in
from noetl_testkit.oracles.findings import Findings
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.oracles.logs import check_logs
from noetl_testkit.oracles.resources import Resources, grown, resources, use_of
from noetl_testkit.oracles.rows import behind, check_rows, left
from noetl_testkit.oracles.stalls import longest_gap, stalls
from noetl_testkit.oracles.starts import Starts, check_starts
from noetl_testkit.stack import Stack, events, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

pytestmark = pytest.mark.e2e

type Connection = "asyncpg.Connection[asyncpg.Record]"

HEAD = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {0}, path: oracles/{0}}}
workload: {{token: ""}}
workflow:
"""


def playbooks(ledger: Ledger) -> dict[str, str]:
    """Return a playbook with everything that the oracles look at, and its child."""
    return {
        "child": f"  - step: start\n    tool: {ledger.script('start')}\n",
        "all": f"""  - step: start
    tool: {ledger.script("start")}
    next: {{arcs: [{{step: fan}}]}}
  - step: fan
    loop: {{in: "{{{{ range(3) }}}}", iterator: n, spec: {{mode: parallel}}}}
    tool: {ledger.script("fan", saw=["start"])}
    next: {{arcs: [{{step: nap}}]}}
  - step: nap
    tool: {{kind: sleep, duration: 2s}}
    next: {{arcs: [{{step: kid}}]}}
  - step: kid
    tool: {{kind: playbook, path: oracles/child, return_step: start}}
    next: {{arcs: [{{step: tried}}]}}
  - step: tried
    tool: {ledger.script("tried", tries=2)}
    next: {{arcs: [{{step: asked}}]}}
  - step: asked
    tool: {{kind: wait, signal: go, timeout: 1h}}
    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {ledger.call("last", saw=["start", "fan"])}
""",
    }


@dataclass
class Run:
    """An execution that went right, and one that was cancelled."""

    stack: Stack
    ledger: Ledger
    execution_id: int
    child_id: int
    cancelled: dict[int, float]

    @property
    def ids(self) -> list[int]:
        """All executions."""
        return [self.execution_id, self.child_id, *self.cancelled]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A stack in which everything has gone right."""
    with running_stack() as stack, counting(stack.scratch / "effects") as ledger:
        with stack.client() as client:
            for name, text in playbooks(ledger).items():
                register(client, HEAD.format(name) + text)
            one = execute(client, "oracles/all", token="one")
            other = execute(client, "oracles/all", token="other")
            wait_until(
                lambda: any(e["event_type"] == "wait.started" for e in events(client, other))
            )
            client.post(f"/api/executions/{other}/cancel", json={}).raise_for_status()
            cancelled = {other: time.time()}
            wait_until(
                lambda: [e["node_name"] for e in events(client, one)].count("asked") > 1,
                what="it waits",
            )
            client.post(f"/api/executions/{one}/signals/go", json={"id": "1"}).raise_for_status()
            assert finish(client, one) == "COMPLETED"
            assert finish(client, other) == "CANCELLED"
        child = asyncio.run(_child(stack, one))
        findings = asyncio.run(
            judge(stack.dsn(), effects=ledger.effects, cancelled=cancelled, stall_limit=60.0)
        )
        assert findings.problems == []
        assert findings.effects >= 9
        yield Run(stack, ledger, one, child, cancelled)


async def _child(stack: Stack, parent: int) -> int:
    connection = await asyncpg.connect(stack.dsn())
    try:
        text = "SELECT execution_id FROM noetl.execution_state WHERE parent_execution_id = $1"
        return int(await connection.fetchval(text, parent))
    finally:
        await connection.close()


@pytest.fixture
async def database(run: Run) -> AsyncIterator[Connection]:
    """A transaction in which faults may be planted; it is rolled back."""
    connection = await asyncpg.connect(run.stack.dsn())
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def log_problems(database: Connection, run: Run) -> list[str]:
    """Return the problems of the logs."""
    findings = Findings()
    await check_logs(database, run.ids, findings)
    return findings.problems


LOG_FAULTS = {
    "DELETE FROM noetl.event WHERE execution_id = $1 AND position = 3": "positions 1..",
    "DELETE FROM noetl.event WHERE execution_id = $1": "accepted, but there is no log",
    "DELETE FROM noetl.event WHERE execution_id = $1 AND event_type = 'playbook.completed'": (
        "0 terminal events"
    ),
    "UPDATE noetl.event SET event_type = 'playbook.failed'"
    " WHERE execution_id = $1 AND event_type = 'call.done' AND node_name = 'start'": (
        "2 terminal events"
    ),
    "UPDATE noetl.event SET event_type = 'x' WHERE execution_id = $1 AND position = 1": (
        "0 playbook_started"
    ),
    "UPDATE noetl.event SET event_type = 'command.completed'"
    " WHERE execution_id = $1 AND event_type = 'command.claimed' AND node_name = 'start'": (
        "2 effective outcomes"
    ),
    "UPDATE noetl.event SET event_type = 'x'"
    " WHERE execution_id = $1 AND event_type = 'command.completed' AND node_name = 'start'": (
        "0 effective outcomes"
    ),
    "UPDATE noetl.event SET event_type = 'command.issued'"
    " WHERE execution_id = $1 AND event_type = 'command.claimed' AND node_name = 'start'": (
        "issued 2 times"
    ),
    "UPDATE noetl.event SET event_type = 'call.done', meta = meta || '{\"attempts\": 0}'"
    " WHERE execution_id = $1 AND event_type = 'command.claimed' AND node_name = 'start'": (
        "1 calls told twice by a run"
    ),
    "UPDATE noetl.execution_state SET position = 5 WHERE execution_id = $1": "state at 5",
    "UPDATE noetl.execution_state SET status = 'FAILED' WHERE execution_id = $1": "state FAILED",
}


@pytest.mark.parametrize(("fault", "problem"), LOG_FAULTS.items())
async def test_faults_of_a_log_are_found(
    run: Run, database: Connection, fault: str, problem: str
) -> None:
    assert await log_problems(database, run) == []

    await database.execute(fault, run.execution_id)

    assert any(problem in one for one in await log_problems(database, run))


LATER = """
UPDATE noetl.event SET ingest_time = ingest_time + interval '100 s'
WHERE execution_id = $1 AND position >= (
    SELECT min(position) FROM noetl.event
    WHERE execution_id = $1 AND event_type = $2 AND node_name = $3
)
"""


async def stall(database: Connection, run: Run, **more: object) -> float:
    """Return the longest stall of the execution."""
    seen = [one.at for one in run.ledger.effects() if one.execution_id == run.execution_id]
    (found,) = await stalls(
        database,
        [run.execution_id],
        seen={run.execution_id: seen},
        **more,  # type: ignore[arg-type]
    )
    return found.seconds


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("command.claimed", "start"),
        ("command.completed", "start"),
        ("command.claimed", "fan"),
        ("command.completed", "nap"),
        ("command.claimed", "kid"),
        ("command.completed", "kid"),
        ("command.completed", "tried"),
        ("command.completed", "last"),
    ],
)
async def test_an_execution_that_stands_still_is_found_beside_others_that_go_on(
    run: Run, database: Connection, event: str, step: str
) -> None:
    before = await stall(database, run)
    await database.execute(LATER, run.execution_id, event, step)

    after = await stall(database, run)

    assert before < 60 < after


async def test_a_gap_is_a_time_in_which_nothing_at_all_was_committed(
    run: Run, database: Connection
) -> None:
    since = time.time() + 1000
    text = "UPDATE noetl.event SET ingest_time = to_timestamp($2) WHERE execution_id = $1"
    await database.execute(f"{text} AND position = 1", run.execution_id, since + 0.25)
    await database.execute(f"{text} AND position = 2", run.execution_id, since + 1.0)

    assert await longest_gap(database, since=since, until=since + 1.5) == pytest.approx(0.75)


@pytest.mark.parametrize("event", ["signal.received", "call.done"])
async def test_a_wait_for_a_signal_is_no_stall(run: Run, database: Connection, event: str) -> None:
    await database.execute(LATER, run.execution_id, event, "asked")

    assert await stall(database, run) < 60


async def test_a_child_that_runs_is_no_stall_of_its_parent(run: Run, database: Connection) -> None:
    moved = "UPDATE noetl.event SET ingest_time = ingest_time + interval '100 s' WHERE "
    await database.execute(
        f"{moved} execution_id = $1 AND event_type = 'playbook.completed'", run.child_id
    )
    await database.execute(LATER, run.execution_id, "call.done", "kid")

    assert await stall(database, run) < 60
    (child,) = await stalls(database, [run.child_id])
    assert child.seconds > 60


async def test_a_sleep_is_no_stall_until_it_is_due(run: Run, database: Connection) -> None:
    await database.execute(LATER, run.execution_id, "call.done", "nap")
    assert await stall(database, run) > 60

    due = """
    UPDATE noetl.event SET result = jsonb_set(result, '{context,due_at}', to_jsonb(
        to_timestamp(extract(EPOCH FROM (result #>> '{context,due_at}')::timestamptz) + 100)))
    WHERE execution_id = $1 AND event_type = 'wait.started' AND node_name = 'nap'
    """
    await database.execute(due, run.execution_id)
    assert await stall(database, run) < 60


async def test_an_execution_that_has_not_ended_stands_still_until_now(
    run: Run, database: Connection
) -> None:
    text = "DELETE FROM noetl.event WHERE execution_id = $1 AND event_type = 'playbook.completed'"
    await database.execute(text, run.execution_id)

    assert await stall(database, run, until=time.time() + 100) > 100


async def test_pauses_between_tries_are_none_as_each_try_is_seen(
    run: Run, database: Connection
) -> None:
    await database.execute(LATER, run.execution_id, "call.done", "tried")
    began = effect(run, "tried").at
    tries = {run.execution_id: [began + 20.0 * number for number in range(6)]}

    (unseen,) = await stalls(database, [run.execution_id])
    (seen,) = await stalls(database, [run.execution_id], seen=tries)

    assert seen.seconds < 60 < unseen.seconds


async def effect_problems(
    database: Connection, run: Run, effects: list[Effect], *, may_repeat: bool = False
) -> Findings:
    """Judge the effects."""
    found = Findings()
    await check_effects(
        database, effects, run.ids, found, cancelled=run.cancelled, may_repeat=may_repeat
    )
    return found


def effect(run: Run, step: str) -> Effect:
    """Return the first run of a step."""
    return next(
        one
        for one in run.ledger.effects()
        if (one.execution_id, one.step) == (run.execution_id, step)
    )


@pytest.mark.parametrize("step", ["start", "fan", "last"])
async def test_a_doubled_line_is_a_tool_that_ran_twice(
    run: Run, database: Connection, step: str
) -> None:
    twice = replace(effect(run, step), at=effect(run, step).at + 0.001, gave="other")

    found = await effect_problems(database, run, [*run.ledger.effects(), twice])

    assert (found.twice, found.untold) == (1, 1)
    assert any("ran 2 times" in one for one in found.problems)


async def test_a_second_run_is_excused_by_a_fault_unless_the_log_had_the_first(
    run: Run, database: Connection
) -> None:
    first = effect(run, "start")
    late = replace(first, at=first.at + 5.0, gave="late")
    early = sorted(
        [replace(first, at=first.at - 5.0, gave="early"), *run.ledger.effects()],
        key=lambda one: one.at,
    )

    excused = await effect_problems(database, run, early, may_repeat=True)
    known = await effect_problems(database, run, [*run.ledger.effects(), late], may_repeat=True)

    assert (excused.twice, excused.problems) == (1, [])
    assert any("although the log had its first run" in one for one in known.problems)


async def test_a_second_run_with_a_claim_is_told(run: Run, database: Connection) -> None:
    first = effect(run, "start")
    claim = """
    UPDATE noetl.event SET event_type = 'command.claimed'
    WHERE execution_id = $1 AND event_type = 'command.started' AND node_name = 'start'
    """
    await database.execute(claim, run.execution_id)
    twice = [*run.ledger.effects(), replace(first, gave="x")]

    excused = await effect_problems(database, run, twice, may_repeat=True)
    calm = await effect_problems(database, run, twice)

    assert (excused.twice, excused.untold, excused.problems) == (1, 0, [])
    assert any("without a fault" in one for one in calm.problems)


async def test_an_outcome_without_a_run_is_found(run: Run, database: Connection) -> None:
    without = [one for one in run.ledger.effects() if one != effect(run, "last")]

    found = await effect_problems(database, run, without)

    assert found.problems == [f"{run.execution_id} last: has an outcome, but its tool never ran"]


async def test_a_run_after_the_end_is_found(run: Run, database: Connection) -> None:
    (cancelled,) = run.cancelled.items()
    late = Effect(cancelled[0], "last", None, 1, cancelled[1] + 0.3, "late")
    in_time = replace(late, at=cancelled[1] + 0.1)
    after = replace(effect(run, "last"), at=time.time() + 60)

    assert (await effect_problems(database, run, [*run.ledger.effects(), in_time])).late_runs == 0
    for one in (late, after):
        found = await effect_problems(database, run, [*run.ledger.effects(), one])
        assert found.late_runs == 1
        assert any("after the end" in text for text in found.problems)


@pytest.mark.parametrize("step", ["start", "fan"])
async def test_a_value_that_is_not_the_logs_is_found(
    run: Run, database: Connection, step: str
) -> None:
    last = effect(run, "last")
    wrong = replace(last, saw={**last.saw, step: {"gave": "another"}})
    effects = [wrong if one == last else one for one in run.ledger.effects()]

    found = await effect_problems(database, run, effects)

    assert [one for one in found.problems if f"saw ['another'] of {step}" in one]


ROW_FAULTS = {
    "UPDATE noetl.outbox SET status = 'PENDING' WHERE outbox_id = (SELECT max(outbox_id)"
    " FROM noetl.outbox)": "outbox are PENDING",
    "UPDATE noetl.outbox SET status = 'PARKED' WHERE outbox_id = (SELECT max(outbox_id)"
    " FROM noetl.outbox)": "outbox are PARKED",
    "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
    " SELECT 1, max(execution_id), now(), 'retry' FROM noetl.execution_state": "timers of ended",
    "UPDATE noetl.command SET status = 'CLAIMED' WHERE execution_id = (SELECT max(execution_id)"
    " FROM noetl.execution_state WHERE status = 'COMPLETED')": "commands of ended executions",
    "INSERT INTO noetl.request_key (scope, key, execution_id) VALUES ('execute', 'k', 7)": (
        "keys of requests without"
    ),
    "INSERT INTO noetl.execution_snapshot (execution_id, position, format, state)"
    " SELECT execution_id, position + 1, 1, '' FROM noetl.execution_state LIMIT 1": (
        "snapshots of ended"
    ),
    "INSERT INTO noetl.child (execution_id, event_id, child_id, path, payload_digest, run)"
    " VALUES (7, 1, 8, 'x', '', 1)": "children without",
    "UPDATE noetl.execution SET status = 'RUNNING' WHERE execution_id = (SELECT max(execution_id)"
    " FROM noetl.execution)": "shown RUNNING",
    "UPDATE noetl.execution SET position = position - 1 WHERE execution_id = (SELECT"
    " max(execution_id) FROM noetl.execution)": "shown ",
    "UPDATE noetl.execution SET end_time = end_time + interval '1 s' WHERE execution_id = (SELECT"
    " max(execution_id) FROM noetl.execution)": "shown ",
    "DELETE FROM noetl.execution WHERE execution_id = (SELECT max(execution_id)"
    " FROM noetl.execution)": "shown None",
    "INSERT INTO noetl.execution (execution_id, catalog_id, status) VALUES (7, 1, 'RUNNING')": (
        "shown, but has no state"
    ),
    "UPDATE noetl.execution_counter SET executions = executions + 1 WHERE path = 'oracles/all'": (
        "counter of oracles/all"
    ),
    "UPDATE noetl.execution_day SET executions = executions + 1": "counter of 20",
    "UPDATE noetl.request_key SET seen_at = now() - interval '30 days'": "older than they are kept",
}


@pytest.mark.parametrize(("fault", "problem"), ROW_FAULTS.items())
async def test_rows_that_are_left_and_a_read_model_behind_its_log_are_found(
    database: Connection, fault: str, problem: str
) -> None:
    assert await left(database) + await behind(database) == []

    await database.execute(fault)

    found = Findings()
    await check_rows(database, found)
    assert any(problem in one for one in found.problems)


async def test_accepted_refused_and_doubled_starts_are_compared_with_the_log(
    run: Run, database: Connection
) -> None:
    starts = Starts()
    starts.accept("one", run.execution_id)
    starts.accept("other", *run.cancelled)
    starts.refuse("never", "503", may_have_begun=False)
    starts.refuse("one", "503", may_have_begun=False)
    right = Findings()
    await check_starts([database], starts, right)

    starts.accept("lost", 7)
    starts.accept("one", 8)
    starts.refuse("quiet", "503", may_have_begun=False)
    text = """
    UPDATE noetl.event SET context = jsonb_set(context, '{workload,token}', $2)
    WHERE execution_id = $1 AND position = 1
    """
    wrong = Findings()
    await check_starts([database], starts, wrong)
    await database.execute(text, next(iter(run.cancelled)), '"quiet"')
    await check_starts([database], starts, wrong)
    await database.execute(text, next(iter(run.cancelled)), '"one"')
    await check_starts([database], starts, wrong)

    assert right.problems == []
    said = "\n".join(wrong.problems)
    assert "start lost: accepted as [7]" in said
    assert "start one: answered with" in said
    assert "start quiet: refused with 503, and there is" in said
    assert "start one: made 2 executions" in said


async def test_growth_of_processes_and_sessions_is_seen(database: Connection) -> None:
    before = await resources(database, {"it": os.getpid(), "gone": 2**22 + 1})
    with ExitStack() as held:
        for _ in range(150):
            for end in socket.socketpair():
                held.enter_context(end)
        after = await resources(database, {"it": os.getpid()})

    used = after.processes["it"]
    fat = Resources({"it": replace(used, megabytes=used.megabytes + 1000)}, 1000)
    assert list(grown(before, before)) == []
    assert any("descriptors became" in one for one in grown(before, after))
    assert len(list(grown(before, fat))) == 3
    assert list(grown(before, replace(fat, processes={}), sessions=2000)) == []
    assert use_of(2**22 + 1) is None


async def test_a_changed_log_is_not_what_its_digest_says(run: Run) -> None:
    right, wrong = Findings(), Findings()
    changed = "UPDATE noetl.event SET node_id = $2 WHERE execution_id = $1 AND position = 2"
    connection = await asyncpg.connect(run.stack.dsn())
    try:
        await asyncio.to_thread(check_digests, right, data=run.stack.data)
        await connection.execute(changed, run.execution_id, "another")
        await asyncio.to_thread(check_digests, wrong, data=run.stack.data)
        await connection.execute(changed, run.execution_id, "start")
    finally:
        await connection.close()

    assert right.problems == []
    assert any(str(run.execution_id) in one for one in wrong.problems)


async def test_everything_is_judged_together(run: Run) -> None:
    effects = run.ledger.effects()
    first = effect(run, "start")
    starts = Starts()
    starts.accept("lost", 7)

    found = await judge(
        run.stack.dsn(),
        starts=starts,
        effects=lambda: [*effects, replace(first, gave="x")],
        cancelled=run.cancelled,
        stall_limit=0.0,
    )

    said = "\n".join(found.problems)
    assert "7: accepted, but unknown" in said
    assert "ran 2 times" in said
    assert "stood still for" in said
    assert found.executions == len(run.ids)
    assert "1 twice" in found.line()


def test_results_are_found_wherever_tools_have_them() -> None:
    value = [{"data": {"gave": "b"}, "gave": "b"}, {"gave": "a", "more": [1, None]}, "text"]

    assert results_in(value) == ["b", "a"]


def test_a_ledger_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none").effects() == []

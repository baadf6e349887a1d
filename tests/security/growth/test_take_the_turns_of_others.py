"""Runs that go round with all the work they may have, and loops that fill the pool.

Others go on meanwhile, and people are heard: both is shown by what came before what in the log.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

_RUNS = 8
_WINDOW = 64
# Nine tenths of the work that templates of a decision may have: a sixth of a second.
_WORK = (
    "{% set ns = namespace(l=[]) %}{% for i in range(300) %}{% set ns.l = ns.l + [{'a': {'b': i}}]"
    " %}{% endfor %}{% for i in range(130) %}{% set x = ns.l | sort(attribute='a.b') %}"
    "{% endfor %}7"
)
_ROUND = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: round, path: growth/round}}
workflow:
  - step: start
    tool: {{kind: noop}}
    next: {{arcs: [{{step: again}}]}}
  - step: again
    tool: {{kind: noop}}
    set: {{ctx.v: "{_WORK}"}}
    next: {{arcs: [{{step: again}}]}}
"""
_THREE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: three, path: growth/three}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: middle}]}
  - step: middle
    tool: {kind: noop}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: noop}
"""
_FAN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fan, path: growth/fan}
workflow:
  - step: start
    loop: {in: "{{ range(99999) }}", iterator: i, spec: {mode: parallel, max_in_flight: 1000000}}
    tool: {kind: noop}
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {"NOETL_LOOP_WINDOW": str(_WINDOW)}
    with running_stack(environment=environment) as opened, opened.client() as client:
        for text in (_ROUND, _THREE, _FAN):
            register(client, text)
        yield opened


def ask(stack: Stack, statement: str, *arguments: Any) -> list[Any]:
    async def read() -> list[Any]:
        connection = await asyncpg.connect(stack.dsn())
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(read())


def rounds_of(stack: Stack, runs: list[int]) -> dict[int, int]:
    """Return how often each run has gone round."""
    rows = ask(
        stack,
        "SELECT execution_id, count(*) AS rounds FROM noetl.event WHERE execution_id = ANY($1)"
        " AND event_type = 'ctx.updated' GROUP BY execution_id",
        runs,
    )
    return {row["execution_id"]: row["rounds"] for row in rows}


def rounds_beside(stack: Stack, runs: list[int], other: int) -> int:
    """Return how often runs have gone round between the first and the last event of another."""
    rows = ask(
        stack,
        "SELECT count(*) AS rounds FROM noetl.event, (SELECT min(ingest_time) AS begun,"
        " max(ingest_time) AS ended FROM noetl.event WHERE execution_id = $2) AS other"
        " WHERE execution_id = ANY($1) AND event_type = 'ctx.updated'"
        " AND ingest_time BETWEEN other.begun AND other.ended",
        runs,
        other,
    )
    return int(rows[0]["rounds"])


@pytest.mark.slow
def test_people_and_others_are_served_while_many_runs_go_round(stack: Stack) -> None:
    with stack.client() as client:
        runs = [execute(client, "growth/round") for _ in range(_RUNS)]
        # With their second round all are known to be slow, and none is first each time.
        wait_until(
            lambda: len(rounds_of(stack, runs)) == _RUNS and min(rounds_of(stack, runs).values()),
            what="all go round",
        )

        three = execute(client, "growth/three")
        assert finish(client, three) == "COMPLETED"
        during = rounds_beside(stack, runs, three)

        def tell(word: str, run: int) -> JsonObject:
            answer = client.post(f"/api/executions/{run}/{word}", json={})
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        tell("pause", runs[0])
        paused = sum(rounds_of(stack, runs).values())
        # All at once: what we take for one after the other is time for more rounds.
        with ThreadPoolExecutor(_RUNS) as threads:
            answers = list(threads.map(lambda run: tell("cancel", run), runs))
        told = [answer["status"] for answer in answers]

        assert told == ["cancelled"] * _RUNS
        assert {finish(client, run) for run in runs} == {"CANCELLED"}
        ended = sum(rounds_of(stack, runs).values())
        restarts = stack.services()["orchestrator"]["restarts"]

    # Three steps are some ten turns; each of them waits for one slow decision or two. Where all
    # runs are before them each time it is ten times the number of runs.
    assert during <= 4 * _RUNS
    # One that has been cancelled goes round no more, and none is let go round before it is told.
    assert ended - paused <= 3 * _RUNS
    assert restarts == 0


def test_what_a_loop_has_in_the_pool_is_bounded_and_others_come_behind_no_more(
    stack: Stack,
) -> None:
    with stack.client() as client:
        loop = execute(client, "growth/fan")

        def count(status: str) -> int:
            rows = ask(
                stack,
                "SELECT count(*) AS found FROM noetl.command WHERE execution_id = $1"
                " AND status = ANY($2::text[])",
                loop,
                status.split(),
            )
            return int(rows[0]["found"])

        wait_until(lambda: count("COMPLETED") > 0, what="the loop is at work")
        widest, others = 0, []
        for _ in range(3):
            others.append(execute(client, "growth/three"))
            widest = max(widest, count("PENDING CLAIMED RUNNING"))
            assert finish(client, others[-1]) == "COMPLETED"
        assert client.post(f"/api/executions/{loop}/cancel", json={}).status_code == 200
        assert finish(client, loop) == "CANCELLED"

    before = ask(
        stack,
        "SELECT other.step_name, (SELECT count(*) FROM noetl.command one"
        " WHERE one.execution_id = $1 AND one.created_at <= other.created_at"
        " AND coalesce(one.started_at, one.completed_at) > other.created_at"
        " AND coalesce(one.started_at, one.completed_at)"
        " <= coalesce(other.started_at, other.completed_at)) AS waited_for"
        " FROM noetl.command other WHERE other.execution_id = ANY($2)",
        loop,
        others,
    )
    assert 0 < widest <= _WINDOW
    assert len(before) == 9
    assert max(row["waited_for"] for row in before) <= _WINDOW

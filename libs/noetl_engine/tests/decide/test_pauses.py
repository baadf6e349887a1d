"""A paused execution finishes its running commands and issues no new one."""

from typing import Any

import pytest
from engine_driver import (
    EXECUTION_ID,
    Run,
    cancel,
    make_arc,
    make_loop,
    make_playbook,
    make_step,
)
from noetl_contract.ingress import PauseMessage, ResumeMessage
from noetl_engine.playbook.model import Cursor, Frame, Loop, LoopMode

RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])
PAUSE = PauseMessage(execution_id=EXECUTION_ID, reason="later", actor="ann")
RESUME = ResumeMessage(execution_id=EXECUTION_ID)
CURSOR = Loop(
    iterator="row",
    mode=LoopMode.CURSOR,
    cursor=Cursor(claim="SELECT 1"),
    frame=Frame(max_rows=2, row_concurrency=2),
)
WORKFLOWS = {
    "line": (make_step("start", "a"), make_step("a", "b"), make_step("b")),
    "branches": (
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", "join"),
        make_step("b", "join"),
        make_step("join"),
    ),
    "sequential": (
        make_step("start", "lp"),
        make_step("lp", "end", loop=make_loop([1, 2, 3])),
        make_step("end"),
    ),
    "parallel": (
        make_step("start", "lp"),
        make_step("lp", "end", loop=make_loop([1, 2, 3], "parallel", max_in_flight=2)),
        make_step("end"),
    ),
    "cursor": (make_step("start", "lp"), make_step("lp", "end", loop=CURSOR), make_step("end")),
    "cycle": (
        make_step("start", "again"),
        make_step("again", make_arc("start", "{{ again.n < 2 }}"), make_arc("end")),
        make_step("end"),
    ),
}


def begin(workflow: str, *, reload: bool = False) -> Run:
    run = Run(make_playbook(*WORKFLOWS[workflow])).start()
    if reload:
        run.reload = lambda turn: turn % 2 == 0 or run.take_snapshot() or True
    return run


def data(runs: list[int]) -> Any:
    """Two frames of rows for a cursor, a growing number for everything else."""

    def of(command: Any) -> Any:
        runs.append(1)
        if (command.meta.get("cursor") or {}).get("phase") == "claim":
            return {"rows": [{"id": 1}, {"id": 2}] if command.meta["cursor"]["frame"] < 2 else []}
        return {"n": len(runs)}

    return of


def shape(run: Run) -> list[tuple[str, str | None]]:
    """The log without the pauses and the workers' part."""
    kept = ("step.", "command.issued", "playbook")
    return [(row.event_type, row.node_name) for row in run.rows if row.event_type.startswith(kept)]


@RELOADS
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_paused_after_every_command_it_does_the_same(workflow: str, *, reload: bool):
    plain = begin(workflow).work_all(data=data([]))
    run, value = begin(workflow, reload=reload), data([])

    rounds = 0
    while run.open:
        assert run.decide(PAUSE).answer.body["status"] == "paused"
        issued = len(run.issued)
        run.work_all(data=value)
        assert len(run.issued) == issued
        if run.ended:
            break
        run.decide(RESUME)
        rounds += 1

    assert run.ended == plain.ended == ["COMPLETED"]
    assert sorted(shape(run)) == sorted(shape(plain))
    assert rounds > 0


def test_the_log_tells_who_paused_and_why():
    run = begin("line")

    run.decide(PAUSE)
    run.decide(PAUSE)
    run.decide(RESUME)
    run.decide(RESUME)

    (paused,), (resumed,) = run.rows_of("execution.paused"), run.rows_of("execution.resumed")
    assert paused.meta == {"reason": "later", "actor": "ann"}
    assert (paused.status, resumed.status) == ("PAUSED", "RUNNING")


@RELOADS
@pytest.mark.parametrize("how", ["resume", "end"])
def test_its_row_among_the_timers_goes_with_it(how: str, *, reload: bool):
    run = begin("line", reload=reload)
    (timer,) = run.decide(PAUSE).timers
    assert (timer.kind, timer.payload) == ("pause", {"reason": "later", "actor": "ann"})
    assert run.decide(PAUSE).timers == []

    ended = run.decide(RESUME if how == "resume" else cancel())
    assert ended.timers_done == [timer.timer_id]
    if how == "resume":
        assert run.decide(RESUME).timers_done == []


def test_an_execution_that_has_ended_is_not_paused():
    run = begin("line")
    run.decide(cancel())

    for message in (PAUSE, RESUME):
        assert run.decide(message).answer.status == 422


def test_a_paused_execution_can_be_cancelled():
    run = begin("line")
    run.decide(PAUSE)
    run.work("start")

    run.decide(cancel())

    assert run.ended == ["CANCELLED"]

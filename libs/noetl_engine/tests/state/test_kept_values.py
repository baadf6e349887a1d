"""An execution with many results, read again between any two events of a worker."""

from typing import Any

from engine_driver import Run, make_loop, make_playbook, make_step
from noetl_engine.playbook.model import Cursor, Frame, Loop, LoopMode

RESULTS = 80


def begin_reloaded(loop: Loop) -> Run:
    steps = [make_step(f"s{n}", f"s{n + 1}") for n in range(1, RESULTS)]
    last = make_step(f"s{RESULTS}", "end", loop=loop)
    run = Run(make_playbook(make_step("start", "s1"), *steps, last, make_step("end")))
    run.start().work("start")
    for n in range(1, RESULTS):
        run.work(f"s{n}", data={"n": n})
    run.reload = lambda _turn: run.take_snapshot() or True
    return run


def test_the_rows_of_a_claim_are_there_when_it_ends() -> None:
    cursor = Cursor(claim="SELECT 1")
    frame = Frame(max_rows=2, row_concurrency=2)
    run = begin_reloaded(Loop(iterator="row", mode=LoopMode.CURSOR, cursor=cursor, frame=frame))
    data: dict[str, Any] = {"rows": [{"id": 1}, {"id": 2}]}
    run.work(f"s{RESULTS}", data=data, fast=False)

    assert [run.label(command) for command in run.open] == [f"s{RESULTS}:i0", f"s{RESULTS}:i1"]


def test_what_the_iterations_have_set_is_there_when_the_loop_ends() -> None:
    run = begin_reloaded(make_loop([1, 2]))
    for index in range(2):
        updates = {"_context_updates": {"ctx.v": index}}
        run.work(f"s{RESULTS}:i{index}", data=updates, fast=False)

    assert run.find("end").context["render_context"]["v"] == 1

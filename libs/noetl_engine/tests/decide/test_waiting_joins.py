"""Why a join has not been entered yet."""

from engine_driver import Run, make_playbook, make_step
from noetl_engine.decide.waits.joins import WaitingJoin, waiting_joins
from noetl_engine.playbook.model import Playbook

JOIN = make_playbook(
    make_step("start", "a", "b", mode="inclusive"),
    make_step("a", "join"),
    make_step("b", "between"),
    make_step("between", "join"),
    make_step("join"),
)


def joins(run: Run, playbook: Playbook = JOIN) -> list[WaitingJoin]:
    return waiting_joins(run.execution.state, playbook)


def test_a_join_names_the_open_steps_before_it() -> None:
    run = Run(JOIN).start().work("start")
    assert joins(run) == []

    run.work("a")
    (waits,) = joins(run)
    assert (waits.step, waits.arrived, waits.awaited) == ("join", ("a",), ("b",))
    assert run.rows[waits.position - 1].node_name == "a"
    run.work("b")
    assert [one.awaited for one in joins(run)] == [("between",)]
    run.work("between")
    assert joins(run) == []


def test_what_only_follows_from_the_join_is_not_awaited() -> None:
    playbook = make_playbook(
        make_step("start", "a", "b", "c", mode="inclusive"),
        make_step("a", "join"),
        make_step("b", "join"),
        make_step("c"),
        make_step("join", "c"),
    )
    run = Run(playbook).start().work("start").work("a")

    waits = {one.step: one.awaited for one in joins(run, playbook)}
    assert waits["join"] == ("b",)
    assert waits["c"] == ("b",)
    run.work("b")
    assert {one.step: one.awaited for one in joins(run, playbook)} == {"c": ("join",)}


def test_an_ended_execution_has_none() -> None:
    run = Run(JOIN).start().work_all(fails={"b"})

    assert joins(run) == []

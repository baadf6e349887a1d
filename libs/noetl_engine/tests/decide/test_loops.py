"""Loops: collections, concurrency, results, parts of large fan-outs (R10, W9)."""

from typing import Any

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step
from noetl_engine.commands.collection import MAX_COUNT, elements_of
from noetl_engine.errors import EvaluateError
from noetl_engine.inputs import Continued, Limits
from noetl_engine.playbook.model import Pipeline, Task, Tool


def looping(loop: Any, *, reload: Any = lambda _turn: False, **options: Any) -> Run:
    fields = {name: options.pop(name) for name in list(options) if name in {"tool", "set"}}
    playbook = make_playbook(
        make_step("start", "lp"),
        make_step("lp", "end", loop=loop, **fields),
        make_step("end"),
        workload=options.pop("workload", None),
    )
    return Run(playbook, reload=reload, **options).start().work("start")


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ([1, "x"], [1, "x"]),
        ({"b": 1, "a": 2}, [{"key": "a", "value": 2}, {"key": "b", "value": 1}]),
        ("[1, 2]", [1, 2]),
        ("a, b\n c,,", ["a", "b", "c"]),
        ('{"a": 1}', ['{"a": 1}']),
        (3, [0, 1, 2]),
        (-1, []),
        (2.5, []),
    ],
)
def test_a_collection_is_made_of_what_in_renders_to(value: Any, elements: Any) -> None:
    assert elements_of(value, expression="x") == elements


@pytest.mark.parametrize("value", [None, True])
def test_null_and_booleans_can_not_be_iterated(value: Any) -> None:
    with pytest.raises(EvaluateError, match="did not evaluate to an iterable: x"):
        elements_of(value, expression="x")


def test_a_number_has_a_limit():
    with pytest.raises(EvaluateError, match="the limit is"):
        elements_of(MAX_COUNT + 1, expression="x")


def test_an_iteration_sees_its_element_everywhere():
    run = looping(make_loop(["a", "b"]))
    run.work("lp:i0")
    command = run.find("lp:i1")
    context = command.context["render_context"]

    assert context["iter"] == {"item": "b", "_index": 1, "_total": 2}
    assert context["item"] == context["ctx"]["item"] == "b"
    assert (context["_index"], context["_total"]) == (1, 2)
    assert command.context["tool_config"]["args"] == {"item": "b", "_index": 1, "_total": 2}
    assert command.meta["iteration_index"] == 1
    assert command.meta["iteration_total"] == 2
    assert (command.meta["iterator_step"], command.meta["item_var"]) == ("lp", "item")
    assert command.command_id.endswith(f":lp:{command.event_id}:i1")


def test_a_pipeline_gets_the_element_through_the_context_only():
    task = Task(label="t", tool=Tool(kind="python"), rendered={"kind": "python"})
    run = looping(make_loop([1]), tool=Pipeline(tasks=(task,)))

    assert run.find("lp:i0").context["tool_config"] == [{"t": {"kind": "python"}}]


def test_a_parallel_loop_keeps_to_its_limit():
    run = looping(make_loop([1, 2, 3, 4], "parallel", max_in_flight=2))
    run.work("lp:i1").work("lp:i0")

    assert run.story.endswith("enter lp{4} I(lp:i0) I(lp:i1) W(lp:i1) I(lp:i2) W(lp:i0) I(lp:i3)")


def test_the_limit_may_be_a_template():
    loop = make_loop([1, 2, 3], "parallel", max_in_flight="{{ n }}")

    assert len(looping(loop, workload={"n": 2}).open) == 2
    failed = looping(loop, workload={"n": 0})
    assert failed.ended == ["FAILED"]
    assert "max_in_flight" in failed.rows[-1].result["context"]["error"]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
@pytest.mark.parametrize("reload", [False, True])
def test_the_result_is_in_index_order_with_the_data(mode: str, *, reload: bool) -> None:
    run = looping(make_loop([1, 2, 3], mode), reload=lambda _turn: reload)
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    order = [2, 0, 1] if mode == "parallel" else [0, 1, 2]
    ids = {}
    for index in order:
        ids[index] = run.find(f"lp:i{index}").command_id
        run.work(f"lp:i{index}", data={"n": index})
    result = run.find("end").context["render_context"]["lp"]

    assert result == [
        {
            "status": "success",
            "context": {"command_id": ids[index], "status": "success"},
            "data": {"n": index},
        }
        for index in range(3)
    ]
    assert run.find("end").context["render_context"]["steps"]["lp"] == result


@pytest.mark.parametrize("reload", [False, True])
def test_an_iteration_without_data_has_its_place(*, reload: bool) -> None:
    run = looping(make_loop([1, 2], "parallel"))
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    bare = run.find("lp:i0")
    run.open.remove(bare)
    started, _, completed = run.outcome_events(bare)
    run.finish(bare, [started, completed])
    run.work("lp:i1", data={"n": 1})

    entries = run.find("end").context["render_context"]["lp"]
    assert [entry["data"] for entry in entries] == [None, {"n": 1}]
    assert entries[0]["context"]["command_id"] == bare.command_id


@pytest.mark.parametrize("reload", [False, True])
def test_variables_of_iterations_are_taken_in_index_order(*, reload: bool) -> None:
    run = looping(make_loop([1, 2], "parallel"))
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    for index in (1, 0):
        updates = {"ctx.last": index, "iter.mine": index, f"only{index}": index}
        run.work(f"lp:i{index}", data={"_context_updates": updates, "t": {}})
    context = run.find("end").context["render_context"]

    assert (context["last"], context["only0"], context["only1"]) == (1, 0, 1)
    assert "mine" not in context


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
@pytest.mark.parametrize("reload", [False, True])
def test_what_a_loop_sets_is_rendered_with_what_its_iterations_set(
    mode: str, *, reload: bool
) -> None:
    run = looping(make_loop([1, 2], mode), set={"copy": "{{ ctx.sum }}", "sum": "9"})
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    for index in (0, 1):
        run.work(f"lp:i{index}", data={"_context_updates": {"ctx.sum": index + 1}, "t": {}})
    context = run.find("end").context["render_context"]

    assert (context["copy"], context["sum"]) == (2, 2)


def test_arc_values_reach_every_iteration():
    playbook = make_playbook(
        make_step(
            "start",
            make_arc("lp", set={"v": "mine"}, args={"raw": 1}),
            make_arc("other", set={"v": "other"}),
            mode="inclusive",
        ),
        make_step("lp", loop=make_loop([1, 2, 3])),
        make_step("other"),
    )
    run = Run(playbook).start().work("start")
    run.reload = lambda _turn: run.take_snapshot() or True
    for index in range(3):
        context = run.find(f"lp:i{index}").context["render_context"]
        assert (context["v"], context["raw"]) == ("mine", 1)
        run.work(f"lp:i{index}")


def test_the_collection_is_fixed_at_entry():
    playbook = make_playbook(
        make_step("start", "lp", "other", mode="inclusive"),
        make_step("lp", loop=make_loop("{{ things }}")),
        make_step("other", set={"ctx.things": "[]"}),
        workload={"things": [1, 2]},
    )
    run = Run(playbook).start().work("start").work("lp:i0").work("other")

    assert run.find("lp:i1").context["render_context"]["item"] == 2


def test_a_large_fan_out_comes_in_parts():
    run = Run(
        make_playbook(
            make_step("start", "lp"), make_step("lp", loop=make_loop("{{ 450 }}", "parallel"))
        ),
        limits=Limits(commands_per_decision=200, loop_window=1000),
    ).start()
    run.work("start")
    parts = [len(decision.commands) for decision in run.decisions if decision.commands]

    assert parts == [1, 200, 200, 50]
    assert run.continues == 2
    assert not run.decide(Continued()).events
    run.work_all()
    assert run.ended == ["COMPLETED"]


def test_a_looped_start_comes_in_parts_too():
    run = Run(
        make_playbook(make_step("start", loop=make_loop([1, 2, 3], "parallel"))),
        limits=Limits(commands_per_decision=2),
    ).start()

    assert run.decisions[0].answer.body["commands_generated"] == 3
    assert [len(decision.commands) for decision in run.decisions] == [2, 1]


@pytest.mark.parametrize("limit", [None, 50])
def test_what_is_open_at_once_is_bounded_whatever_the_playbook_says(limit: int | None) -> None:
    loop = make_loop("{{ range(30) }}", "parallel", max_in_flight=limit)
    run = Run(make_playbook(make_step("start", loop=loop)), limits=Limits(loop_window=7)).start()
    widest = 0
    while run.open:
        widest = max(widest, len(run.open))
        run.work(run.label(run.open[0]))

    assert widest == 7
    assert run.ended == ["COMPLETED"]


@pytest.mark.parametrize("at_start", [True, False])
def test_waits_are_open_beyond_the_window_of_commands(*, at_start: bool) -> None:
    """They take no place of commands, and a thousand approvals may be asked for at once."""
    wait = make_step(
        "start" if at_start else "lp",
        loop=make_loop("{{ range(30) }}", "parallel"),
        tool=Tool(kind="wait", config={"signal": "approval"}),
    )
    steps = [wait] if at_start else [make_step("start", "lp"), wait]
    limits = Limits(loop_window=7, iterations_in_flight=20)
    run = Run(make_playbook(*steps), limits=limits).start()
    if not at_start:
        run.work("start")

    assert run.story.count("wait.started") == 20


def test_a_loop_of_the_window_keeps_it_full_to_its_end() -> None:
    loop = make_loop("{{ range(40) }}", "parallel")
    limits = Limits(loop_window=8, commands_per_decision=3)
    run = Run(make_playbook(make_step("start", loop=loop)), limits=limits).start()
    open_at_once = []
    while run.open:
        open_at_once.append(len(run.open))
        run.work(run.label(run.open[-1]))

    assert open_at_once == [8] * 33 + [7, 6, 5, 4, 3, 2, 1]
    assert run.ended == ["COMPLETED"]


@pytest.mark.parametrize("repeated", [0, 4096])
@pytest.mark.parametrize("at_start", [True, False])
def test_a_large_context_makes_the_parts_smaller(*, at_start: bool, repeated: int) -> None:
    """Every command carries the context, so 200 of them may be too much for one commit."""
    loop = make_loop("{{ range(40) }}", "parallel")
    steps = (
        [make_step("start", loop=loop)]
        if at_start
        else [make_step("start", "lp"), make_step("lp", loop=loop)]
    )
    limits = Limits(command_bytes_per_decision=1_000_000, repeated_workload_bytes=repeated)
    run = Run(make_playbook(*steps, workload={"text": "x" * 50_000}), limits=limits).start()
    if not at_start:
        run.work("start")

    assert len(run.open) == 40
    widest = max(len(decision.commands) for decision in run.decisions)
    if repeated == 0:
        assert 1 <= widest <= 6
    else:
        # What they name makes none of them larger; at the start it isn't in the log yet.
        assert widest > 30


def test_a_part_that_does_not_render_ends_the_execution():
    tool = Tool(kind="python", config={"code": "{{ 1 // (1 - item) }}"})
    run = looping(make_loop([0, 1]), tool=tool).work("lp:i0")

    assert run.ended == ["FAILED"]
    assert run.rows[-1].meta["reason"] == "evaluate_error"


def test_a_failing_loop_step_is_handled_once_when_nothing_is_in_flight():
    playbook = make_playbook(
        make_step("start", "lp"),
        make_step(
            "lp",
            make_arc("rescue", "event.name == 'call.error' and output.error == 'lp broke'"),
            make_arc("end"),
            loop=make_loop([1, 2, 3], "parallel"),
        ),
        make_step("rescue"),
        make_step("end"),
    )
    run = Run(playbook).start().work("start")
    run.work("lp:i1", fails=True).work("lp:i0").work("lp:i2", fails=True).work_all()

    assert run.story.endswith(
        "F(lp:i1) W(lp:i0) F(lp:i2) skip end enter rescue I(rescue) W(rescue) playbook.completed"
    )


def test_a_lost_run_s_result_counts_and_there_is_no_second_run():
    """Its call.done came before the worker died."""
    run = looping(make_loop([1], "sequential"))
    command = run.find("lp:i0")
    run.open.remove(command)
    started, done, _ = run.outcome_events(command, data={"n": "lost"})
    run.work_start(command, started)
    run.finish(command, [done])
    run.wait(100)
    run.workers = {}
    assert run.claim(command, "w2").answer.status == 409

    assert run.find("end").context["render_context"]["lp"][0]["data"] == {"n": "lost"}


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_the_cost_of_an_iteration_does_not_grow(mode: str) -> None:
    """Nothing that is kept grows with the iterations done, but for their outcomes."""
    run = looping(make_loop("{{ 300 }}", mode))
    sizes = []
    while run.open and run.open[0].iteration_index is not None:
        run.work(run.label(run.open[0]), data={"n": 1})
        sizes.append(len(run.execution.snapshot()))

    assert max(sizes[150:290]) <= 1.05 * max(sizes[140:150])
    assert len(run.execution._memory.values.rows) < 300

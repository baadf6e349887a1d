"""Results of the result store in templates: asked for, given, or refused by name."""

from typing import Any

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step, posted
from noetl_engine.inputs import Limits
from noetl_engine.playbook.model import Pipeline, Task, Tool

ROWS = [{"id": number} for number in range(3000)]


def using(**args: Any) -> Tool:
    return Tool(kind="python", config={"code": "result = 1"}, args=args, has_args=True)


def begin(*steps: Any, **how: Any) -> Run:
    return Run(make_playbook(make_step("start", *how.pop("arcs", ("use",)), **how), *steps)).start()


def args_of(run: Run, step: str = "use") -> Any:
    return run.find(step).context["tool_config"]["args"]


@pytest.mark.parametrize("text", ["{{ start }}", "{{ start.data }}", "{{ ctx.start }}"])
def test_a_loop_goes_over_the_elements_of_a_stored_list(text: str) -> None:
    data: Any = {"data": ROWS} if "data" in text else ROWS
    run = begin(make_step("use", loop=make_loop(text, "parallel"))).keep("start", data)

    (entered,) = run.rows_of("step.enter")
    assert entered.result["context"]["iterations_expected"] == 3000
    assert entered.note["collection"][2999] == {"id": 2999}
    assert len(run.asked) == 1


def test_every_place_sees_the_value() -> None:
    first = {"ctx.first": "{{ start.rows[0].id }}"}
    run = begin(
        make_step(
            "use",
            tool=using(
                whole="{{ start.rows }}",
                count="of {{ start.rows | length }}",
                ref="{{ start._ref }}",
                total="{{ start.total }}",
                is_there="{{ start._ref is defined }}",
            ),
        ),
        make_step("wrong"),
        arcs=(
            make_arc("wrong", "{{ start.rows | length < 3000 }}"),
            make_arc(
                "use",
                "{{ output.rows[2999].id == 2999 }}",
                set=first,
            ),
        ),
        set={"ctx.last": "{{ output.rows[-1].id }}"},
    ).keep("start", {"rows": ROWS, "total": 3000}, total=3000)

    args = args_of(run)
    assert args["whole"] == ROWS
    assert (args["count"], args["total"], args["is_there"]) == ("of 3000", 3000, True)
    assert args["ref"].startswith("noetl://")
    values = {
        **run.rows_of("ctx.updated")[0].result["context"]["values"],
        **run.rows_of("ctx.updated")[1].result["context"]["values"],
    }
    assert values == {"last": 2999, "first": 0}
    assert len(run.asked) == 1


def test_what_names_the_reference_asks_for_nothing() -> None:
    run = begin(
        make_step(
            "use",
            tool=using(
                ref="{{ start._ref }}",
                total="{{ start.total }}",
                old="{{ start._preview is defined }}",
            ),
        ),
    ).keep("start", {"total": 3}, total=3)

    assert run.asked == []
    assert args_of(run) == {"ref": args_of(run)["ref"], "total": 3, "old": False}
    scope = run.find("use").context["render_context"]
    assert scope["start"]["data"] == {"_ref": args_of(run)["ref"], "total": 3}


def test_a_result_that_can_not_be_had_fails_the_step_that_names_it() -> None:
    run = begin(make_step("use", tool=using(rows="{{ start.rows }}")))
    run.keep("start", {}, size=15_000_000, withheld="it has 99 bytes")

    assert run.ended == ["FAILED"]
    assert run.execution.state.error == (
        "Orchestrator evaluate failed: step 'use', tool: 'rows' in the result of step 'start' is "
        "kept in the result store and can't be had here: it has 99 bytes. A template that names a "
        "smaller part reads that alone, and tasks behind a 'result_fetch' in the same pipeline "
        "work on all of it"
    )


def test_a_set_is_no_null_where_a_result_can_not_be_had() -> None:
    run = begin(make_step("use"), set={"ctx.rows": "{{ output.rows }}"})
    run.keep("start", {}, withheld="it is gone")

    assert run.ended == ["FAILED"]
    assert (
        "step 'start', set: 'rows' in the result of step 'start' is kept"
        in run.execution.state.error
    )


def test_the_result_of_a_loop_holds_references_that_are_read_where_they_are_named() -> None:
    run = Run(
        make_playbook(
            make_step("start", "use", loop=make_loop([1, 2, 3], "parallel")),
            make_step(
                "use",
                tool=using(
                    count="{{ start | length }}",
                    refs="{{ start | map(attribute='data._ref') | list }}",
                    second="{{ start[1].data.rows[0] }}",
                ),
            ),
        )
    ).start()
    for index in range(3):
        run.keep(f"start:i{index}", {"rows": [index]})

    args = args_of(run)
    assert (args["count"], args["second"]) == (3, 1)
    assert all(ref.startswith("noetl://") for ref in args["refs"])
    assert [len(asked) for asked in run.asked] == [1]


def test_a_walk_over_the_result_of_a_loop_asks_twice() -> None:
    run = Run(
        make_playbook(
            make_step("start", "use", loop=make_loop([1, 2, 3, 4], "parallel")),
            make_step("use", tool=using(all="{{ start | map(attribute='data.n') | sum }}")),
        )
    ).start()
    for index in range(4):
        run.keep(f"start:i{index}", {"n": index})

    assert args_of(run) == {"all": 6}
    assert [len(asked) for asked in run.asked] == [1, 3]


def test_a_loop_over_the_result_of_a_loop_reads_each_where_it_is_named() -> None:
    run = Run(
        make_playbook(
            make_step("start", "use", loop=make_loop([1, 2], "parallel")),
            make_step("use", loop=make_loop("{{ start }}"), tool=using(n="{{ item.data.n }}")),
        ),
        reload=lambda _turn: True,
    ).start()
    for index in range(2):
        run.keep(f"start:i{index}", {"n": index})

    assert run.find("use:i0").context["tool_config"]["args"]["n"] == 0
    run.work("use:i0")
    assert run.find("use:i1").context["tool_config"]["args"]["n"] == 1


def test_commands_with_a_large_result_in_each_come_in_parts() -> None:
    step = make_step(
        "use", loop=make_loop([1] * 9, "parallel"), tool=using(rows="{{ start.rows }}")
    )
    run = Run(
        make_playbook(make_step("start", "use"), step),
        limits=Limits(command_bytes_per_decision=1_000_000),
        goes_on=False,
    ).start()
    run.keep("start", {"rows": ["x" * 400_000]})

    assert len(run.open) == 3
    assert run.decisions[-1].continue_later


def test_what_only_the_worker_renders_gets_the_value_with_its_variables() -> None:
    tasks = (
        Task(
            label="first",
            tool=Tool(kind="python"),
            rendered={"kind": "python"},
            verbatim={"input": {"n": "{{ first.n + start.rows | length }}"}},
        ),
    )
    run = begin(make_step("use", tool=Pipeline(tasks=tasks))).keep("start", {"rows": ROWS})

    assert run.find("use").context["render_context"]["start"]["rows"] == ROWS


def test_a_value_that_looks_like_the_reference_of_another_execution_is_a_value() -> None:
    foreign = {"_ref": "noetl://execution/1/result/start/2"}
    run = begin(make_step("use", tool=using(value="{{ start }}"))).work("start", data=foreign)

    assert args_of(run)["value"] == {**foreign, "data": foreign}
    assert run.asked == []


IN_MEMORY = {
    "kind": "arrow_ipc",
    "shm_name": "noetl_0a1b2c3d_0a1b2c3d",
    "schema_digest": "json",
    "byte_length": 46_137_344,
    "lease_expires_at": "2026-06-14T10:01:00Z",
    "media_type": "application/json",
}


def ending_with(run: Run, label: str, result: Any, *, fast: bool) -> Run:
    """End an open command with a result as some worker reports it."""
    command = run.find(label)
    events = run.outcome_events(command)
    events[1].context["result"] = result
    run.open.remove(command)
    if fast:
        run.finish(command, events)
    else:
        run.claim(command, "w1", http=True)
        for event in events:
            run.decide(posted((event,)))
    return run


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            {"status": "success", "reference": IN_MEMORY},
            (
                "the result of 46137344 bytes is lost: its worker could not store it, and names "
                "its own memory (arrow_ipc) in place of a store"
            ),
        ),
        ({"status": "success"}, "the result is lost: its worker could not store it"),
    ],
)
def test_a_step_whose_data_is_in_no_store_fails(result: Any, words: str, *, fast: bool) -> None:
    run = ending_with(begin(make_step("use")), "start", result, fast=fast)

    assert run.ended == ["FAILED"]
    assert run.execution.state.error == f"step 'start' failed: {words}"
    cause = run.decisions[-1].cause
    assert cause is not None
    assert (cause.step, cause.kind, cause.message) == ("start", "tool", words)
    assert run.restore().snapshot() == run.execution.snapshot()


def test_an_iteration_whose_data_is_in_no_store_fails_its_loop_by_its_number() -> None:
    playbook = make_playbook(make_step("start", loop=make_loop([1, 2], "parallel")))
    run = Run(playbook).start().work("start:i0")
    ending_with(run, "start:i1", {"status": "success", "reference": IN_MEMORY}, fast=True)

    assert run.ended == ["FAILED"]
    assert "failed in iteration 1: the result of 46137344 bytes is lost" in str(
        run.execution.state.error
    )


def test_a_lost_result_can_be_handled_like_any_failure() -> None:
    arcs = (make_arc("other", "event.name == 'call.error'"), make_arc("use"))
    run = begin(make_step("use"), make_step("other"), arcs=arcs)
    ending_with(run, "start", {"status": "success", "reference": IN_MEMORY}, fast=False)

    assert run.find("other")


def test_an_error_without_data_stays_a_soft_error() -> None:
    run = begin(make_step("use"))
    command = run.find("start")
    events = run.outcome_events(command, status="error")
    events[1].context["result"] = {"status": "error", "reference": IN_MEMORY}
    run.open.remove(command)
    run.finish(command, events)

    assert run.ended == []
    assert run.execution.progress.soft_errors == 1


@pytest.mark.parametrize("reloads", [True, False])
@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_a_restart_goes_over_the_results_of_its_origin(mode: str, *, reloads: bool) -> None:
    """They name the execution that they are of, also once they are elements of another loop."""
    loop = make_loop([0, 1, 2, 3], "parallel")
    use = make_step("use", loop=make_loop("{{ start }}", mode), tool=using(n="{{ item.data.n }}"))
    playbook = make_playbook(make_step("start", "use", loop=loop), use)
    run = Run(playbook, reload=lambda _: reloads).start()
    for number in range(4):
        run.keep(f"start:i{number}", {"n": number + 10}, execution_id=6999)
    values = []
    while run.open:
        command = run.open[0]
        values.append(command.context["tool_config"]["args"]["n"])
        run.work(run.label(command))

    assert sorted(values) == [10, 11, 12, 13]
    assert run.ended == ["COMPLETED"]


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_a_loop_over_more_results_than_a_decision_reads_goes_on(mode: str) -> None:
    """Each command names one of them."""
    loop = make_loop(list(range(12)), "parallel")
    use = make_step("use", loop=make_loop("{{ start }}", mode), tool=using(n="{{ item.data.n }}"))
    run = _Reading(make_playbook(make_step("start", "use", loop=loop), use)).start()
    for number in range(12):
        run.keep(f"start:i{number}", {"n": number}, size=400)
    values = []
    while run.open:
        command = run.open[0]
        values.append(command.context["tool_config"]["args"]["n"])
        run.work(run.label(command))

    assert sorted(values) == list(range(12))
    assert run.ended == ["COMPLETED"]


class _Reading(Run):
    """Reads for each decision anew, and at most three results of 400 bytes."""

    def decide(self, message: Any, **facts: Any) -> Any:
        self.read: dict[str, Any] = {}
        return super().decide(message, **facts)

    def answer_with_results(self, need: Any) -> None:
        self.asked.append(need.results)
        for name, is_whole in need.results.items():
            if len(self.read) < 3:
                self.read[name] = self.part(name, is_whole)
        self.execution = self.restore()
        self.execution.provide_results(self.read, {})


@pytest.mark.parametrize("is_pipeline", [True, False])
def test_variables_that_hold_a_large_result_make_the_parts_smaller(*, is_pipeline: bool) -> None:
    """Results that only the worker's templates name go with the command's variables."""
    verbatim = {"input": {"n": "{{ first.n + start.rows | length }}"}}
    task = Task(
        label="first", tool=Tool(kind="python"), rendered={"kind": "python"}, verbatim=verbatim
    )
    rules = [{"when": "{{ start.rows | length > output.n }}", "then": {"do": "break"}}]
    single = Tool(kind="http", config={"url": "x"}, policy={"rules": rules})
    use = make_step(
        "use",
        loop=make_loop([1] * 20, "parallel"),
        tool=Pipeline(tasks=(task,)) if is_pipeline else single,
    )
    limits = Limits(command_bytes_per_decision=1_000_000)
    run = Run(make_playbook(make_step("start", "use"), use), limits=limits, goes_on=False).start()
    run.keep("start", {"rows": ["x" * 400_000]})

    assert len(run.open) == 1
    assert run.decisions[-1].continue_later

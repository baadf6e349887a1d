"""Templates cost work: one has a limit, and a decision with more takes several turns (W28)."""

from typing import Any

import pytest
from engine_driver import Run, command_outcome, make_arc, make_loop, make_playbook, make_step
from noetl_engine.commands import rendering
from noetl_engine.inputs import Limits
from noetl_engine.outputs import NeedRows
from noetl_engine.playbook.model import Playbook, Tool
from noetl_engine.renders import MoreWork

# Units of work of one heavy template, roughly; a light one costs a few.
_HEAVY = 2_400


def heavy(value: object = 7, rounds: int = 1000) -> str:
    return f"{{% for i in range({rounds}) %}}{{% set x = i * 2 %}}{{% endfor %}}{value}"


def within(work: int, playbook: Playbook) -> Run:
    return Run(playbook, limits=Limits(template_work_per_decision=work)).start()


def many_rules() -> Playbook:
    """A routing of fourteen heavy templates, which no commit can divide."""
    arcs = [
        make_arc("never", "{{ " + f"(range(4000) | list | length) > {9000 + n} " + "}}")
        for n in range(4)
    ]
    rules = {f"ctx.v{n}": heavy(n) for n in range(8)}
    last = make_arc("end", set={"ctx.last": heavy("{{ ctx.v3 + 1 }}")}, args={"y": 1})
    return make_playbook(
        make_step("start", *arcs, last, set=rules),
        make_step("never"),
        make_step("end", tool=Tool(kind="noop", config={"x": heavy("{{ ctx.last }}")})),
    )


def shape(run: Run) -> tuple[Any, ...]:
    """Return the decisions of a run, but for ids."""
    values = [row.result for row in run.rows if row.event_type == "ctx.updated"]
    kept = [value["context"]["values"] for value in values if isinstance(value, dict)]
    return run.story, run.ended, kept, [one.context["tool_config"] for one in run.issued.values()]


def test_a_routing_with_more_work_than_a_turn_has_goes_on_in_the_next_ones() -> None:
    small = within(2 * _HEAVY, many_rules()).work("start")
    large = within(1_000_000, many_rules()).work("start")

    assert small.more_work >= 3
    assert large.more_work == 0
    assert small.find("end").context["tool_config"] == {"x": 4}
    # The command of the step that is entered comes with the next decision.
    assert small.continues == 1
    small.work_all()
    large.work_all()
    assert small.ended == ["COMPLETED"]
    assert shape(small)[1:] == shape(large)[1:]


def test_a_template_is_rendered_once_however_many_turns_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a decision of n parts would cost as much as n of them."""
    seen: list[object] = []
    render = rendering.render_expression

    def counted(value: Any, scope: Any) -> Any:
        result = render(value, scope)
        seen.append(value)
        return result

    monkeypatch.setattr(rendering, "render_expression", counted)
    rules = {f"ctx.v{n}": heavy(n) for n in range(8)}
    run = within(2 * _HEAVY, make_playbook(make_step("start", set=rules))).work("start")

    assert run.ended == ["COMPLETED"]
    assert run.more_work >= 3
    assert sorted(map(str, seen)) == sorted(rules.values())


def test_one_template_above_its_limit_fails_by_name() -> None:
    rules = {"ctx.a": heavy(1), "ctx.b": heavy(2, rounds=5000)}
    run = within(2 * _HEAVY, make_playbook(make_step("start", set=rules))).work("start")

    assert run.ended == ["FAILED"]
    error = str(run.rows[-1].error)
    assert "step 'start', set" in error
    assert "too much work" in error


def test_the_work_of_all_turns_has_an_end() -> None:
    rules = {f"ctx.v{n:02}": heavy(n) for n in range(40)}
    run = within(2 * _HEAVY, make_playbook(make_step("start", set=rules))).work("start")

    assert run.ended == ["FAILED"]
    assert f"more than {20 * _HEAVY} units" in str(run.rows[-1].error)


def test_a_start_goes_on_as_well() -> None:
    config = {"x": heavy(1)}
    loop = make_loop("{% for i in range(1000) %}{% set x = i %}{% endfor %}[1, 2, 3]", "parallel")
    playbook = make_playbook(make_step("start", loop=loop, tool=Tool(kind="noop", config=config)))
    run = within(_HEAVY + 200, playbook)

    assert len(run.open) == 3
    assert run.decisions[0].answer.body["commands_generated"] == 3
    assert max(len(decision.commands) for decision in run.decisions) == 1
    run.work_all()
    assert run.ended == ["COMPLETED"]


def test_the_first_command_waits_when_its_routing_was_the_work() -> None:
    rules = {"ctx.a": heavy(1)}
    tool = Tool(kind="noop", config={"x": heavy(2)})
    steps = make_step("start", "next", set=rules), make_step("next", tool=tool)
    run = within(_HEAVY + 200, make_playbook(*steps)).work("start")

    assert [len(decision.commands) for decision in run.decisions[-2:]] == [0, 1]
    assert run.more_work == 0
    run.work_all()
    assert run.ended == ["COMPLETED"]


def test_what_was_rendered_before_others_moved_the_execution_is_rendered_again() -> None:
    """Another replica, or a word of people, may come between the turns of a decision."""
    rules = {f"ctx.a{number}": heavy("{{ ctx.total + 1 }}") for number in range(6)}
    first = {"ctx.total": "{{ 1 }}"}
    playbook = make_playbook(
        make_step("start", make_arc("a"), make_arc("b"), mode="inclusive", set=first),
        make_step("a", set=rules),
        make_step("b", set={"ctx.total": "{{ 100 }}"}),
    )
    run = within(2 * _HEAVY, playbook).work("start")
    a, b = run.find("a"), run.find("b")
    message = command_outcome(run.hold(a), tuple(run.outcome_events(a)))
    with pytest.raises(MoreWork) as more:
        run.execution.decide(playbook, message, run.facts())
    renders = more.value.renders
    run.execution = run.restore()
    run.finish(b, run.outcome_events(b))
    while True:
        try:
            decision = run.execution.decide(playbook, message, run.facts(renders=renders))
            break
        except NeedRows as need:
            run.answer(need)
        except MoreWork:
            run.execution = run.restore()
    run.take(decision)

    values = [row.result["context"]["values"] for row in run.rows_of("ctx.updated")][-1]
    assert values == {f"a{number}": 101 for number in range(6)}


def test_many_small_templates_have_the_turns_that_few_large_ones_have() -> None:
    guard = heavy("{{ false }}", rounds=300)
    arcs = [make_arc("end", guard) for _ in range(30)]
    playbook = make_playbook(make_step("start", *arcs, make_arc("end")), make_step("end"))
    run = within(4 * _HEAVY, playbook).work("start")

    assert run.more_work > 0
    assert run.find("end")

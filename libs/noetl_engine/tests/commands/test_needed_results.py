"""A command leaves out only results that nothing on the worker can look up."""

from typing import Any

import pytest
from engine_driver import Run, make_loop, make_playbook, make_step
from noetl_engine.commands.needed_results import (
    ALIASES,
    FEWEST_RESULTS,
    LONGEST_LIST,
    LONGEST_TEXT,
    needed_results,
)

RESULTS = {f"s{n}": {"n": n} for n in range(100, 100 + FEWEST_RESULTS + 1)}
ALL = set(RESULTS)
END = make_step("end")


def needed(kind: str, config: Any, scope: dict[str, Any] | None = None, **parts: Any) -> set[str]:
    flat = {**RESULTS, "steps": RESULTS, "a": 1, **(scope or {})}
    context = {
        "tool_config": config,
        "args": {},
        "render_context": {"workload": {}, **flat, "ctx": flat},
        **parts,
    }
    return needed_results(kind, context, RESULTS) - ALIASES


def test_a_few_results_are_all_carried() -> None:
    few = dict(list(RESULTS.items())[:FEWEST_RESULTS])
    context = {"tool_config": {}, "args": {}, "render_context": few}

    assert needed_results("noop", context, few) == set(few) | ALIASES


def test_the_result_of_a_long_loop_is_left_out_too() -> None:
    scope = {"short": [1] * LONGEST_LIST, "long": [1] * (LONGEST_LIST + 1)}
    context = {"tool_config": {"x": "{{ short }}"}, "args": {}, "render_context": scope}

    assert needed_results("noop", context, scope) == {"short"}


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("noop", {}, set()),
        ("http", {"url": "http://h/s101"}, set()),
        ("http", {"url": "{{ s101.n }}", "headers": {"{{ s102 }}": "x"}}, {"s101", "s102"}),
        ("postgres", {"query": "{% if steps.s103 %}1{% endif %}"}, {"s103"}),
        ("postgres", {"query": "{{ ctx.s103.n }}"}, {"s103"}),
        ("postgres", {"query": "{{ ctx['s103'] }}"}, ALL),
        ("postgres", {"query": "{% for k in steps %}{{ k }}{% endfor %}"}, ALL),
        ("noop", {"result": ["{{ debug() }}"]}, ALL),
        ("python", {"code": "result = a + 1", "args": {"a": 1}}, set()),
        ("python", {"code": "result = f(a)", "args": {"a": "{{ s101 }}"}}, {"s101"}),
        ("python", {"code": "result = context['variables']['s101']"}, ALL),
        ("python", {"code": "print(globals())"}, ALL),
        ("python", {"script": {"uri": "file.py"}}, ALL),
        ("rhai", {"code": "s101"}, ALL),
        ("wordcount", {"text": "x"}, ALL),
        ("http", {"url": "{{ ctx.result[a] }}"}, ALL),
        ("http", {"url": "{{ steps . result | tojson }}"}, ALL),
        ("http", {"url": "{{ ctx.get(a) }}"}, ALL),
        ("http", {"url": "{{ ctx.s101.result }}"}, {"s101"}),
        ("python", {"code": "def main(s101): return s101"}, {"s101"}),
        ("python", {"code": "g = (x for x in []).gi_frame.f_globals"}, ALL),
        ("nats", {"operation": "js_publish_many", "messages_from": "s101.rows"}, {"s101"}),
        ("nats", {"messages_from": "steps.s102.context.rows"}, {"s102"}),
        ("task_sequence", [{"x": {"kind": "nats", "messages_from": "s101.rows"}}], {"s101"}),
        ("task_sequence", {"tool_config": [{"x": {"kind": "noop"}}]}, ALL),
        ("task_sequence", [{"x": {"kind": "noop"}}, {"y": {"kind": "http"}}], set()),
        ("task_sequence", [{"x": {"kind": "noop", "set": {"v": "{{ s105 }}"}}}], {"s105"}),
        ("task_sequence", [{"x": {"kind": "python", "code": "variables"}}], ALL),
        ("task_sequence", [{"x": {"kind": "task_sequence", "tool_config": "odd"}}], ALL),
    ],
)
def test_what_is_looked_up_is_carried(kind: str, config: Any, expected: set[str]) -> None:
    assert needed(kind, config) == expected


@pytest.mark.parametrize(
    ("first", "text", "expected"),
    [
        ({}, "{{ x.body }}", set()),
        ({"set": {"ctx.v": "{{ output }}"}}, "{{ ctx.v }}", set()),
        ({"spec": {"policy": {"rules": [{"then": {"set": {"v": "t"}}}]}}}, "{{ v }}", set()),
        ({"set": {"v": "{{ output.body }}"}}, "{{ a }}", set()),
        ({}, "{{ s101 }}", {"s101"}),
        ({}, "{{ x.body ~ s102 }}", {"s102"}),
    ],
)
def test_what_a_pipeline_brings_itself_needs_no_results(
    first: dict[str, Any], text: str, expected: set[str]
) -> None:
    """Results of its first task are data in its second one, whatever they look like."""
    tasks = [{"x": {"kind": "http", **first}}, {"y": {"kind": "shell", "command": text}}]

    assert needed("task_sequence", tasks) == expected


def test_rules_and_arguments_count_too() -> None:
    assert needed("noop", {}, policy={"rules": [{"when": "{{ s101 }}"}]}) == {"s101"}
    assert needed("noop", {}, args={"x": "{{ s102 }}"}) == {"s102"}


@pytest.mark.parametrize("scope", [{"a": "{{ s101 }}"}, {"workload": {"b": ["{% x %}"]}}])
def test_values_that_are_templates_keep_everything(scope: dict[str, Any]) -> None:
    """They come into the configuration on the worker and are rendered in their turn."""
    assert needed("http", {"url": "{{ a }}"}, scope) == ALL


def test_values_that_stay_are_looked_through_once() -> None:
    many = [{"id": n} for n in range(5)]
    fan_out = make_step("b", "end", loop=make_loop("{{ many }}", "parallel"))
    few = make_loop(list(range(LONGEST_LIST + 1)), "parallel")
    run = Run(
        make_playbook(make_step("start", "b", loop=few), fan_out, END, workload={"many": many})
    )
    run.start()
    for n in range(LONGEST_LIST + 1):
        run.work(f"start:i{n}")
    walked = run.execution._memory.contexts.walked
    known = walked.templates
    scope = run.find("b:i0").context["render_context"]

    assert scope["steps"] == {}
    assert set(known) == {id(scope["many"]), id(scope["workload"])}
    known[id(scope["many"])] = (scope["many"], True)
    context = {"tool_config": {}, "args": {}, "render_context": {**RESULTS, **scope}}
    assert needed_results("noop", context, RESULTS, walked=walked) == ALL | ALIASES
    assert needed_results("noop", context, RESULTS, own={"many"}, walked=walked) == set()


def chain(length: int, **last: Any) -> Run:
    steps = [make_step("start", "s1"), *(make_step(f"s{n}", f"s{n + 1}") for n in range(1, length))]
    run = Run(make_playbook(*steps, make_step(f"s{length}", **last), workload={"s2": "mine"}))
    run.start().work("start", data={"n": 0})
    for n in range(1, length):
        run.work(f"s{n}", data={"n": n})
    return run


def test_a_command_at_the_end_of_a_long_chain_is_no_larger() -> None:
    scope = chain(60).find("s60").context["render_context"]

    assert set(scope) == {"catalog_id", "execution_id", "path", "steps", "workload"}
    assert scope["steps"] == {}
    assert scope["workload"] == {"s2": "mine"}


def test_what_the_worker_renders_finds_its_results() -> None:
    """Arguments of a step go to the worker as they are written."""
    scope = chain(60, args={"x": "{{ s7.n }}"}).find("s60").context["render_context"]

    assert scope["s7"]["n"] == 7
    assert scope["steps"] == {}
    assert "ctx" not in scope


def test_an_alias_that_is_read_is_carried() -> None:
    """Reading the name of an alias has it carried; the others would be the same value again."""
    scope = chain(60, args={"x": "{{ ctx.s7.n ~ steps.s8 }}"}).find("s60").context["render_context"]

    assert set(scope["steps"]) == {"s7", "s8"}
    assert scope["ctx"]["s7"] == scope["s7"]


@pytest.mark.parametrize(
    "fat", [{"text": "x" * (LONGEST_TEXT + 1)}, {"body": {"rows": [1] * (LONGEST_LIST + 1)}}]
)
def test_a_large_result_is_carried_only_where_it_is_read(fat: dict[str, Any]) -> None:
    scope = {"fat": fat, "thin": {"n": 1}, "steps": {}}
    context = {"tool_config": {"x": "{{ thin }}"}, "args": {}, "render_context": scope}

    assert needed_results("noop", context, ["fat", "thin"]) == {"thin"}


def test_a_variable_with_the_name_of_a_step_stays() -> None:
    steps = [make_step(f"s{n}", f"s{n + 1}") for n in range(1, 60)]
    start = make_step("start", "s1", set={"ctx.s30": "by hand"})
    run = Run(make_playbook(start, *steps, make_step("s60"))).start().work("start", data={})
    for n in range(1, 60):
        run.work(f"s{n}", data={"n": n})

    assert run.find("s60").context["render_context"]["s30"] == "by hand"


@pytest.mark.parametrize("length", [2, 60])
def test_a_variable_or_an_element_may_be_called_steps(length: int) -> None:
    steps = [make_step("start", "s1", set={"ctx.steps": "mine"})]
    steps += [make_step(f"s{n}", f"s{n + 1}") for n in range(1, length)]
    loop = make_step(f"s{length}", "empty", loop=make_loop([1], iterator="steps"))
    run = Run(make_playbook(*steps, loop, make_step("empty", "end", loop=make_loop([])), END))
    run.start().work("start")
    for n in range(1, length):
        run.work(f"s{n}", data={"n": n})

    assert run.find(f"s{length}:i0").context["render_context"]["steps"] == 1
    run.work(f"s{length}:i0")
    assert run.find("end").context["render_context"]["steps"] == "mine"

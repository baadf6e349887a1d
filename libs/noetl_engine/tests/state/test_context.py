"""Scopes of templates: results, variables, aliases, sets and their errors (R11, R14)."""

from typing import Any

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.model import Pipeline, Task, Tool
from noetl_engine.state.results import unwrap, with_self_copy


def done(data: Any) -> Any:
    return {
        "status": "COMPLETED",
        "context": {"command_id": "c", "result": {"status": "success", "context": {"data": data}}},
    }


LABELLED = {"a": {"x": 1, "y": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (done({"x": 1}), {"x": 1}),
        (done(None), None),
        (done([1]), [1]),
        (done({}), {}),
        (done({"a": {"x": 1, "y": 1}, "b": {"x": 2}}), {**LABELLED, "x": 2, "y": 1}),
        (done({"a": {"b": 5}, "b": {"c": 1}}), {"a": {"b": 5}, "b": 5, "c": 1}),
        (done({"a": {"x": 1}, "b": 2}), {"a": {"x": 1}, "b": 2}),
        ({"status": "S", "context": {"data": {"l": {"x": 1}}}}, {"l": {"x": 1}, "x": 1}),
        ({"status": "S", "context": {"command_id": "c"}}, {"command_id": "c"}),
        ({"status": "S", "context": {"result": {"status": "s"}}}, {"result": {"status": "s"}}),
        ({"status": "S"}, {"status": "S"}),
    ],
)  # fmt: skip
def test_a_result_is_unwrapped(result: Any, data: Any) -> None:
    assert unwrap(result) == data


def test_an_object_without_data_gets_a_copy_of_itself():
    assert with_self_copy({"x": 1}) == {"x": 1, "data": {"x": 1}}
    assert with_self_copy({"data": 1}) == {"data": 1}
    assert with_self_copy([1]) == [1]


def flow(*arcs: Any, **fields: Any) -> Any:
    return make_playbook(make_step("start", *arcs or ("a",), **fields), make_step("a", "b"),
                         make_step("b"), workload={"w": "seed", "start_of": 1})  # fmt: skip


def context_of(run: Run, step: str) -> Any:
    return run.find(step).context["render_context"]


def test_a_step_sees_results_by_name_and_as_stored():
    run = Run(flow()).start().work("start", data={"x": 1})
    context = context_of(run, "a")

    assert context["start"] == {"x": 1, "data": {"x": 1}}
    assert context["steps"]["start"]["context"]["result"]["context"]["data"] == {"x": 1}
    assert context["ctx"]["start"] == context["start"]
    assert context["workload"] == {"w": "seed", "start_of": 1}
    assert context["execution_id"] == "7000"


def test_null_data_makes_no_variable():
    assert "start" not in context_of(Run(flow()).start().work("start", data=None), "a")


def test_a_result_replaces_the_workload_key_of_its_name():
    playbook = make_playbook(
        make_step("start", "a"), make_step("a"), workload={"start": "workload"}
    )
    context = context_of(Run(playbook).start().work("start", data={"x": 1}), "a")

    assert context["start"]["x"] == 1
    assert context["workload"]["start"] == "workload"


def test_a_step_without_call_done_shows_its_completion():
    run = Run(flow()).start()
    command = run.find("start")
    events = run.outcome_events(command)
    run.finish(command, [events[0], events[2]])

    data = context_of(run, "a")["start"]
    assert (data["command_id"], data["status"]) == (command.command_id, "success")


def test_a_set_is_durable_and_its_scope_word_goes():
    sets = {"ctx.w": "{{ output.x + 1 }}", "iter.i": "{{ workload.w }}", "step.s": True, "a.b": "7"}
    run = Run(flow(set=sets)).start().work("start", data={"x": 1}).work("a")
    row = run.rows_of("ctx.updated")[0]
    values = {"w": 2, "i": "seed", "s": True, "a.b": 7}

    assert row.result["context"]["values"] == values
    assert row.result["context"]["step"] == "start"
    assert row.result["context"]["gen"] == run.rows_of("command.completed")[0].event_id
    assert (row.node_id, row.node_name, row.status) == (None, None, "CONTEXT")
    assert values.items() <= context_of(run, "b").items()
    assert context_of(run, "b")["workload"]["w"] == "seed"


def test_a_failing_set_is_null_and_says_which_key():
    run = Run(flow(set={"ctx.x": "{{ 1 + missing }}", "y": "1"})).start().work("start")
    row = run.rows_of("ctx.updated")[0]

    assert row.result["context"]["values"] == {"x": None, "y": 1}
    assert row.meta["set_errors"] == ["ctx.x"]
    assert "missing" not in str(row.meta)
    assert not run.ended


def test_an_arc_set_is_durable_and_lies_on_top_for_its_target():
    playbook = make_playbook(
        make_step(
            "start",
            make_arc("a", set={"ctx.v": "for a"}),
            make_arc("b", set={"ctx.v": "for b"}),
            mode="inclusive",
        ),
        make_step("a", "c"),
        make_step("b"),
        make_step("c"),
    )
    run = Run(playbook).start().work("start")

    assert context_of(run, "a")["v"] == context_of(run, "a")["ctx"]["v"] == "for a"
    assert context_of(run, "b")["v"] == "for b"
    rows = run.rows_of("ctx.updated")
    assert [row.result["context"]["arc"] for row in rows] == ["a", "b"]
    run.work("a")
    assert context_of(run, "c")["v"] == "for b"


def test_a_join_gets_its_arcs_values_in_arrival_order():
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", make_arc("j", set={"v": "a", "from_a": "1"})),
        make_step("b", make_arc("j", set={"v": "b"})),
        make_step("j"),
    )
    for order, last in (("ab", "b"), ("ba", "a")):
        run = Run(playbook, reload=lambda _turn: True).start().work("start")
        for step in order:
            run.work(step)
        context = context_of(run, "j")
        assert (context["v"], context["from_a"]) == (last, 1)


def test_a_dropped_arc_sets_nothing():
    playbook = make_playbook(
        make_step("start", "a", make_arc("a", set={"v": "1"}), mode="inclusive"), make_step("a")
    )
    run = Run(playbook).start().work("start")

    assert not run.rows_of("ctx.updated")


def test_legacy_args_reach_the_target_and_its_enter_row():
    run = Run(flow(make_arc("a", args={"raw": "{{ x }}"}))).start().work("start")

    assert context_of(run, "a")["raw"] == "{{ x }}"
    assert run.rows_of("step.enter")[0].result["context"] == {"raw": "{{ x }}"}


def test_a_skip_chain_hands_args_on():
    playbook = make_playbook(
        make_step("start", make_arc("a", args={"x": 1})),
        make_step("a", make_arc("b", "x == 1", args={"y": 2}), when="x == 2"),
        make_step("b"),
    )
    run = Run(playbook).start().work("start")

    assert run.rows_of("step.skipped")[0].result["context"] == {"x": 1}
    assert context_of(run, "b")["y"] == 2


def test_what_policy_rules_set_reaches_later_steps():
    updates = {"ctx.n": 5, "plain": 6}
    playbook = flow(set={"ctx.n": "1", "m": "{{ n | default('none yet') }}"})
    for reload in (lambda _turn: False, lambda _turn: True):
        run = Run(playbook, reload=reload).start()
        run.work("start", data={"t": {"x": 1}, "_context_updates": updates})
        context = context_of(run, "a")

        assert (context["n"], context["plain"], context["m"]) == (5, 6, "none yet")
        run.work("a")
        assert context_of(run, "b")["n"] == 5


def test_output_and_event_are_for_arcs_only():
    playbook = make_playbook(
        make_step("start", make_arc("a", "output.x == 1 and event.name == 'call.done'")),
        make_step("a", when="output.x is not defined"),
    )
    run = Run(playbook).start().work("start", data={"x": 1})

    assert run.find("a")
    assert "output" not in context_of(run, "a")


def test_a_single_tool_is_rendered_with_its_arguments():
    tool = Tool(
        kind="http",
        config={"url": "{{ base }}/x", "n": "007", "{{ base }}": 1},
        args={"q": "{{ base }}"},
        has_args=True,
    )
    playbook = make_playbook(
        make_step("start", tool=tool, args={"raw": "{{ base }}"}), workload={"base": "http://h"}
    )
    command = Run(playbook).start().open[0]

    assert command.tool_kind == "http"
    assert command.context["tool_config"] == {
        "url": "http://h/x",
        "n": "007",
        "http://h": 1,
        "args": {"q": "http://h"},
    }
    assert command.context["args"] == {"raw": "{{ base }}"}


def test_a_tool_without_options_has_an_empty_config():
    command = Run(make_playbook(make_step("start", tool=Tool(kind="noop")))).start().open[0]

    assert command.context["tool_config"] == {}
    assert command.context["args"] == {}


def test_step_input_lies_below_the_arguments():
    def config(tool: Tool) -> Any:
        step = make_step("start", tool=tool, input={"a": "{{ w }}", "b": "step"})
        return Run(make_playbook(step, workload={"w": 1})).start().open[0].context["tool_config"]

    assert config(Tool(kind="python")) == {"args": {"a": 1, "b": "step"}}
    assert config(Tool(kind="python", args={"b": "tool"}, has_args=True)) == {
        "args": {"a": 1, "b": "tool"}
    }


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (Tool(kind="playbook", config={"path": "p", "payload": {"base": "{{ w }}"}}), {"base": 1}),
        (Tool(kind="playbook", config={"path": "p"}), {}),
        (Tool(kind="http", config={"url": "u", "payload": {"base": 1}}), {}),
    ],
)
def test_the_payload_of_a_child_in_a_loop_is_not_hidden_by_the_element(
    tool: Tool, given: dict[str, Any]
) -> None:
    loop = make_loop("{{ [5] }}", iterator="job")
    step = make_step("start", tool=tool, loop=loop)
    command = Run(make_playbook(step, workload={"w": 1})).start().open[0]

    own = {"job": 5, "_index": 0, "_total": 1}
    assert command.context["tool_config"]["args"] == {**given, **own}


def test_arguments_that_are_no_object_stay_alone():
    tool = Tool(kind="shell", args=["x"], has_args=True)
    step = make_step("start", tool=tool, input={"a": 1})

    assert Run(make_playbook(step)).start().open[0].context["tool_config"] == {"args": ["x"]}


def test_a_pipeline_renders_all_but_four_keys():
    """The contract's example of a command."""
    fetch = Task(
        label="fetch",
        tool=Tool(kind="http"),
        rendered={"kind": "http", "name": "fetch", "url": "{{ base }}/x"},
        verbatim={"input": {"q": "{{ base }}"}, "set": {"got": "{{ output }}"}},
    )
    save = Task(
        label="save",
        tool=Tool(kind="postgres"),
        rendered={"kind": "postgres", "auth": "{{ cred }}", "query": "SELECT '{{ got }}'"},
        verbatim={"command": "INSERT '{{ got.body }}'"},
    )
    step = make_step("start", tool=Pipeline(tasks=(fetch, save)), input={"extra": "{{ cred }}"})
    playbook = make_playbook(step, workload={"cred": "pg_k8s", "base": "http://h"})
    command = Run(playbook).start().open[0]

    assert command.tool_kind == "task_sequence"
    assert command.context["tool_config"] == [
        {
            "fetch": {
                "kind": "http",
                "name": "fetch",
                "url": "http://h/x",
                "input": {"q": "{{ base }}"},
                "set": {"got": "{{ output }}"},
            }
        },
        {
            "save": {
                "kind": "postgres",
                "auth": "pg_k8s",
                "query": "SELECT ''",
                "command": "INSERT '{{ got.body }}'",
            }
        },
    ]
    assert command.context["render_context"]["extra"] == "pg_k8s"


def test_policy_and_output_select_travel_beside_the_config():
    policy = {"rules": [{"when": "{{ output.data.x + 1 }}", "then": {"do": "retry"}}]}
    tool = Tool(
        kind="http", config={"url": "u", "spec": {"policy": policy, "x": "1"}}, policy=policy
    )
    step = make_step("start", tool=tool, output_select=("a.b",))
    context = Run(make_playbook(step)).start().open[0].context

    assert context["policy"] == policy
    assert context["output_select"] == ["a.b"]
    assert context["tool_config"] == {"url": "u", "spec": {"x": 1}}


def test_a_command_context_carries_nothing_it_does_not_need():
    context = Run(make_playbook(make_step("start"))).start().open[0].context

    assert set(context) == {"tool_config", "args", "render_context"}


def test_what_names_the_keychain_is_left_to_the_worker_and_aliases_pass_as_they_are() -> None:
    """Nothing secret gets into a command, only the names of the entries that it may ask for."""
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n"
        "keychain:\n- {name: api, provider: vault, map: {token: path#key}}\n"
        "workflow:\n- step: start\n  tool:\n    kind: http\n    auth: api\n"
        "    url: http://h\n    t: '{{ keychain.api.token }}'\n"
        "    u: 'x{{ keychain.api.token }}y'\n"
        "    v: '{{ keychain.other.token | default(7) }}'\n"
    )
    run = Run(parse_playbook(text)).start()

    command = run.find("start")
    assert command.context["tool_config"] == {
        "auth": "api",
        "url": "http://h",
        "t": "{{ keychain.api.token }}",
        "u": "x{{ keychain.api.token }}y",
        "v": 7,
    }
    assert command.context["keychain"] == ["api"]
    assert command.context["keychain_needed"] == ["api"]
    assert "keychain" not in command.context["render_context"]


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("tool: {kind: http, url: 'h{{ keychain.other.token }}'}", "keychain.other.token"),
        ("tool: {kind: http, url: '{{ keychain.other }}'}", "keychain.other"),
        ("tool: {kind: noop}\n  loop: {in: '{{ keychain.api.list }}', iterator: x}",
         "keychain.api.list"),
        ("tool: {kind: noop}\n  set: {x: '{{ keychain.api.token }}'}", "keychain.api.token"),
        ("tool: {kind: noop}\n  next: {arcs: [{step: end, when: '{{ keychain.api.on == 1 }}'}]}",
         "keychain.api.on"),
    ],
)  # fmt: skip
def test_a_secret_that_is_not_there_is_an_error_with_its_name(place: str, names: str) -> None:
    """Also where no secret may be: an empty text in its place would be sent to other systems."""
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n"
        "keychain:\n- {name: api, provider: vault}\n"
        "workflow:\n- {step: start, tool: {kind: noop}, next: {arcs: [{step: a}]}}\n"
        f"- step: a\n  {place}\n- {{step: end, tool: {{kind: noop}}}}\n"
    )
    run = Run(parse_playbook(text)).start().work_all()

    assert (
        f"'{names}' has no value here: the keychain has" in run.rows[-1].result["context"]["error"]
    )


def test_an_entry_that_a_program_outside_makes_may_be_empty() -> None:
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\nkeychain:\n"
        "- {name: id, kind: google_id_token, auth: a}\n- {name: kept}\n"
        "- {name: token, kind: oauth2, endpoint: 'https://h/t'}\nworkflow:\n- step: start\n"
        "  tool: {kind: http, url: '{{ keychain.id }}{{ keychain.kept }}{{ keychain.token }}'}\n"
    )
    context = Run(parse_playbook(text)).start().find("start").context

    assert (context["keychain"], context["keychain_needed"]) == (
        ["id", "kept", "token"],
        ["kept", "token"],
    )


def test_what_an_iteration_sets_for_itself_stays_with_it() -> None:
    playbook = make_playbook(
        make_step("start", "lp"),
        make_step("lp", "end", loop=make_loop([1, 2])),
        make_step("end"),
    )
    run = Run(playbook).start().work("start")
    updates = {"iter.own": 1, "ctx.shared": 2, "bare": 3}
    run.work("lp:i0", data={"t": {}, "_context_updates": updates})
    assert "own" not in run.find("lp:i1").context["render_context"]["iter"]
    run.work("lp:i1")

    scope = run.find("end").context["render_context"]
    assert "own" not in scope
    assert (scope["shared"], scope["bare"]) == (2, 3)


@pytest.mark.parametrize("reload", [False, True])
def test_what_a_sequential_iteration_sets_is_seen_by_the_next_one(*, reload: bool) -> None:
    playbook = make_playbook(
        make_step("start", "lp"),
        make_step("lp", "end", loop=make_loop([1, 2, 3])),
        make_step("end"),
    )
    run = Run(playbook, reload=lambda _turn: reload).start().work("start")
    run.work("lp:i0", data={"t": {}, "_context_updates": {"ctx.sum": 1}})
    assert run.find("lp:i1").context["render_context"]["sum"] == 1
    run.work("lp:i1", data={"t": {}, "_context_updates": {"ctx.sum": 3, "ctx.more": True}})
    assert run.find("lp:i2").context["render_context"]["ctx"]["sum"] == 3
    run.work("lp:i2")

    scope = run.find("end").context["render_context"]
    assert (scope["sum"], scope["more"]) == (3, True)


def test_what_a_task_reads_of_an_earlier_one_is_left_to_the_worker() -> None:
    """K4, with data beside it kept from the worker's renderings all the same."""
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n"
        "workload: {table: orders, said: '{{ danger }}'}\n"
        "workflow:\n- step: start\n  tool:\n"
        "  - {name: fetch, kind: http, url: 'http://h/{{ table }}'}\n"
        "  - {name: save, kind: postgres, query: 'INSERT INTO {{ table }} VALUES ($1)',\n"
        "     params: ['{{ fetch.body.id }}', '{{ table }}']}\n"
    )
    run = Run(parse_playbook(text)).start()

    (fetch, save) = run.find("start").context["tool_config"]
    assert fetch["fetch"]["url"] == "http://h/orders"
    assert save["save"]["query"] == "INSERT INTO orders VALUES ($1)"
    assert save["save"]["params"] == ["{{ fetch.body.id }}", "orders"]

"""Valid playbooks and their models."""

import json
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from noetl_engine.documents import kind_of
from noetl_engine.playbook import PlaybookError, YamlLimits, parse_playbook
from noetl_engine.playbook.lint import Severity, lint
from noetl_engine.playbook.model import (
    AdmitRule,
    Arc,
    Cursor,
    Frame,
    Loop,
    LoopMode,
    Pipeline,
    Router,
    RouterForm,
    RouterMode,
    Step,
    Tool,
)
from noetl_engine.playbook.parse import read_document
from noetl_engine.playbook.yaml import compose
from playbook_texts import HEADER, NOOP, end, start, workflow

SHARED = next(
    (
        folder
        for parent in Path(__file__).resolve().parents
        if (folder := parent / "shared" / "playbooks").is_dir()
    ),
    None,
)
EXAMPLES = next(
    folder
    for parent in Path(__file__).resolve().parents
    if (folder := parent / "examples").is_dir()
)


def start_of(*parts: str, tool: str = NOOP, tail: str = "") -> Step:
    return parse_playbook(workflow(start(*parts, tool=tool), end(), tail=tail)).start


def messages(text: str) -> list[str]:
    """Return the problems of a valid playbook: values that are accepted and ignored."""
    parse_playbook(text)
    return [problem.message for problem in read_document(compose(text)).problems]


def test_the_header():
    playbook = parse_playbook(
        "apiVersion: noetl.io/v2\nkind: Playbook\n"
        "metadata: {name: 5, path: a/b, description: d, labels: {x: 1}, tags: [t]}\n"
        "workload: {n: 010, on: yes, f: .inf}\n"
        "keychain: [{name: k, kind: secret, auto_renew: true}]\n"
        "workflow: [{step: start, tool: {kind: noop}}]\n"
    )

    assert (playbook.name, playbook.path) == ("5", "a/b")
    assert playbook.workload == {"n": "010", "on": "yes", "f": None}
    assert playbook.keychain[0].raw == {"name": "k", "kind": "secret", "auto_renew": True}


def test_a_workload_that_is_no_mapping_has_no_effect():
    assert parse_playbook(workflow(start(), tail="workload: [1]\n")).workload == {}


def test_steps_keep_their_order():
    playbook = parse_playbook(workflow("step: b, " + NOOP, start(), "step: a, " + NOOP))

    assert list(playbook.steps) == ["b", "start", "a"]


def test_scalars_count_as_text_outside_of_tool_and_next():
    step = start_of("when: true", "loop: {in: 5, iterator: 6}", "desc: 7")

    assert step.when == "true"
    assert step.loop is not None
    assert (step.loop.collection, step.loop.iterator) == ("5", "6")


def test_a_single_tool():
    tool = start_of(
        tool="tool: {kind: python, input: {a: 1}, code: 'x', url: null, pool: null, "
        "spec: {policy: {rules: []}}, output_select: [s, a.b]}"
    ).tool

    assert tool == Tool(
        kind="python",
        config={
            "code": "x",
            "pool": None,
            "spec": {"policy": {"rules": []}},
            "output_select": ["s", "a.b"],
        },
        args={"a": 1},
        has_args=True,
        policy={"rules": []},
        output_select=("s", "a.b"),
    )


def test_a_null_argument_block_is_none_at_all():
    tool = start_of(tool="tool: {kind: noop, args: null}").tool

    assert isinstance(tool, Tool)
    assert not tool.has_args


def test_a_pipeline_mixes_flat_and_labelled_items():
    tool = start_of(
        tool="tool: [{name: fetch, kind: http, url: u, input: {q: 1}, set: {got: x}, "
        "spec: {policy: 1}}, {save: {kind: postgres, auth: c, command: S, args: {b: 2}}}, "
        "{kind: noop}]"
    ).tool

    assert isinstance(tool, Pipeline)
    assert [task.label for task in tool.tasks] == ["fetch", "save", ""]
    assert [dict(task.verbatim) for task in tool.tasks] == [
        {"set": {"got": "x"}, "spec": {"policy": 1}, "input": {"q": 1}},
        {"command": "S", "input": {"b": 2}},
        {},
    ]
    assert [dict(task.rendered) for task in tool.tasks] == [
        {"kind": "http", "name": "fetch", "url": "u"},
        {"kind": "postgres", "auth": "c"},
        {"kind": "noop"},
    ]


def test_an_item_may_be_labelled_kind():
    tool = start_of(tool="tool: [{kind: {kind: noop}}]").tool

    assert isinstance(tool, Pipeline)
    assert tool.tasks[0].label == "kind"


@pytest.mark.parametrize(
    ("text", "router"),
    [
        ("end", Router(arcs=(Arc(target="end"),), form=RouterForm.STEP)),
        (
            "[end, start]",
            Router(
                mode=RouterMode.INCLUSIVE,
                arcs=(Arc(target="end"), Arc(target="start")),
                form=RouterForm.STEPS,
            ),
        ),
        (
            "[{step: end, when: x, args: {a: '{{ b }}'}}]",
            Router(
                arcs=(Arc(target="end", when="x", args={"a": "{{ b }}"}),),
                form=RouterForm.TARGETS,
            ),
        ),
        (
            (
                "{spec: {mode: INCLUSIVE, on_no_match: quiet}, "
                "arcs: [{step: end, when: '{{ x }}', set: {ctx.a: 1}}]}"
            ),
            Router(
                mode=RouterMode.INCLUSIVE,
                arcs=(Arc(target="end", when="{{ x }}", set={"ctx.a": 1}),),
            ),
        ),
        ("{arcs: [{step: end}], spec: {mode: any}}", Router(arcs=(Arc(target="end"),))),
        ("[]", Router(form=RouterForm.TARGETS)),
        ("{}", Router()),
        ("{arcs: null, spec: null}", Router()),
    ],
)
def test_routers(text: str, router: Router):
    assert router == start_of(f"next: {text}").next


def test_the_step_may_name_the_mode_of_a_router_without_one():
    inclusive = RouterMode.INCLUSIVE
    step_mode = "spec: {next_mode: Inclusive}"
    arcs = "next: {arcs: [{step: end}]}"
    own_mode = "next: {spec: {mode: exclusive}, arcs: []}"

    assert start_of(step_mode, arcs).next.mode is inclusive
    assert start_of(step_mode, "next: [{step: end}]").next.mode is inclusive
    assert start_of(step_mode, own_mode).next.mode is RouterMode.EXCLUSIVE


def test_a_step_without_next_has_no_arcs():
    assert start_of().arcs == ()
    assert start_of("next: null").next is None
    assert len(start_of("next: end").arcs) == 1


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("{in: '{{ x }}', iterator: i}", Loop(iterator="i", collection="{{ x }}")),
        ("{in: x, iterator: i, mode: parallel}", Loop(iterator="i", collection="x")),
        (
            "{in: x, iterator: i, spec: {mode: parallel, max_in_flight: 3}}",
            Loop(iterator="i", collection="x", mode=LoopMode.PARALLEL, max_in_flight=3),
        ),
        (
            "{in: x, iterator: i, spec: {max_in_flight: '{{ n }}'}}",
            Loop(iterator="i", collection="x", max_in_flight="{{ n }}"),
        ),
        (
            (
                "{iterator: i, cursor: {claim: SELECT, auth: '{{ a }}'}, "
                "spec: {mode: cursor, frame: {max_rows: 0, row_concurrency: 4, x: y}}}"
            ),
            Loop(
                iterator="i",
                mode=LoopMode.CURSOR,
                cursor=Cursor(claim="SELECT", auth="{{ a }}"),
                frame=Frame(max_rows=1, row_concurrency=4),
            ),
        ),
    ],
)
def test_loops(text: str, loop: Loop):
    assert loop == start_of(f"loop: {text}").loop


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("1.5m", 90), ("1h", 3600), ("'30'", 30), ("null", None)],
)
def test_step_timeouts(text: str, seconds: float | None):
    assert start_of(f"spec: {{timeout: {text}}}").timeout_seconds == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-5", "5d"])
def test_a_timeout_that_is_no_duration_is_ignored_with_a_warning(text: str):
    playbook = workflow(start(f"spec: {{timeout: {text}}}"))
    message = f"timeout '{text}' is not a duration"

    assert parse_playbook(playbook).start.timeout_seconds is None
    assert message in messages(playbook)[0]
    assert [(one.severity, one.rule) for one in lint(playbook) if message in one.message] == [
        (Severity.WARNING, "inert")
    ]


def test_step_input_output_select_and_args():
    step = start_of(
        "input: {a: '{{ x }}'}", "output: {output_select: [s, a.b]}", "args: {b: 1}",
        "set: {ctx.x: 1}",
    )  # fmt: skip

    assert (step.input, step.args, step.set) == ({"a": "{{ x }}"}, {"b": 1}, {"ctx.x": 1})
    assert step.output_select == ("s", "a.b")
    assert start_of(tool="tool: {kind: noop, output_select: [t]}").output_select == ("t",)
    assert start_of("output: {output_select: {a: b}}").output_select == ()


def test_an_input_that_is_no_mapping_is_ignored_with_a_warning():
    playbook = workflow(start("input: [1]"))

    assert parse_playbook(playbook).start.input == {}
    assert messages(playbook) == ["input is not a mapping and is ignored"]


def test_admit_rules():
    step = start_of(
        "spec: {policy: {admit: {rules: [{when: true, then: {allow: false}}, "
        "{when: '{{ x }}', then: {allow: true}}, {else: {then: {allow: false}}}]}}}"
    )

    assert step.admit == (
        AdmitRule(when="true", allow=False),
        AdmitRule(when="{{ x }}", allow=True),
        AdmitRule(when=None, allow=False),
    )


def test_admit_rules_that_are_not_understood_are_ignored_with_a_warning():
    playbook = workflow(
        start("spec: {policy: {admit: {rules: [{when: 5, then: {allow: true}}, x]}}}")
    )

    assert parse_playbook(playbook).start.admit == ()
    assert len(messages(playbook)) == 1


WORKBOOK = (
    "workbook: [{name: w, sink: x, tool: {kind: python, code: c, args: {a: 1, b: 2}, libs: {}}},"
    " {name: bare, tool: {kind: noop}}]\n"
)


@pytest.mark.parametrize(
    ("reference", "args"),
    [
        ("name: w", {"a": 1, "b": 2}),
        ("name: w, args: {b: 3, c: 4}", {"a": 1, "b": 3, "c": 4}),
        ("name: w, input: [1]", [1]),
        ("name: bare, args: {b: 3}", {"b": 3}),
    ],
)
def test_a_workbook_reference_becomes_the_task(reference: str, args: object):
    tool = start_of(tool=f"tool: {{kind: workbook, pool: gone, {reference}}}", tail=WORKBOOK).tool

    assert isinstance(tool, Tool)
    assert tool.args == args
    assert "pool" not in tool.config
    assert tool.kind != "workbook"


def test_what_a_jump_repeats_is_left_to_the_worker():
    jump = "{do: jump, to: fetch, set: {iter.page: '{{ output.data.next }}'}}"
    tool = start_of(
        tool="tool: [{name: base, kind: noop, result: '{{ iter.page }}'}, "
        "{name: fetch, kind: http, url: '{{ host }}/x', params: {page: '{{ iter.page }}'}, "
        "headers: {X-Last: '{{ merge.last }}', X-Page: '{{ page }}'}}, "
        "{name: merge, kind: python, code: result = 1, spec: {policy: {rules: "
        f"[{{when: '{{{{ output.data.more }}}}', then: {jump}}}]}}}}}}, "
        "{name: after, kind: noop, result: '{{ iter.page }}'}]"
    ).tool

    assert isinstance(tool, Pipeline)
    assert [set(task.left) for task in tool.tasks] == [
        set(),
        {"{{ iter.page }}", "{{ merge.last }}"},
        set(),
        {"{{ iter.page }}"},
    ]


@pytest.mark.parametrize(
    ("action", "is_rendered"),
    [
        ("{do: jump, to: previous, set: {ctx.n: 1}}", False),
        ("{do: jump, to: nowhere, set: {ctx.n: 1}}", True),
        ("{do: continue, set: {ctx.n: 1}}", True),
    ],
)
def test_a_task_that_is_not_repeated_is_rendered_by_the_server(action: str, *, is_rendered: bool):
    tool = start_of(
        tool="tool: [{name: first, kind: noop, result: '{{ ctx.n }}'}, {name: second, kind: noop, "
        f"spec: {{policy: {{rules: [{{else: {{then: {action}}}}}]}}}}}}]"
    ).tool

    assert isinstance(tool, Pipeline)
    assert ("{{ ctx.n }}" not in tool.tasks[0].left) is is_rendered


TEXTS = {
    "{{ fetch.body.id }}": True,
    "x {{ fetch }} y": True,
    "{% if row.fetched %}1{% endif %}": True,
    "{{ ctx.total + 1 }}": True,
    "{{ ctx['total'] }}": True,
    "{{ row }}": True,
    "{{ mine | upper }}": True,
    "{{ ctx.totals }}": False,
    "{{ ctx }}": False,
    "{{ workload.fetch }}": False,
    "{{ 'fetch' }}": False,
    "{% for fetch in rows %}{{ fetch }}{% endfor %}": False,
    "fetch": False,
    "{{ fetch. }}": False,
    "{{ base }}": False,
    "{{ save.x }}": False,
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_names_something_of_the_pipeline_is_left_to_the_worker(text: str):
    """An earlier task, a value that one sets, the task's own input; wherever the text stands."""
    quoted = json.dumps(text)
    tool = start_of(
        tool="tool: [{name: fetch, kind: http, url: u, set: {row.fetched: 1}, "
        "spec: {policy: {rules: [{else: {then: {do: continue, set: {ctx.total: 1}}}}]}}}, "
        f"{{name: save, kind: postgres, query: {quoted}, params: [{quoted}], "
        f"x: {{deep: {{{quoted}: {quoted}}}}}, input: {{mine: 1}}}}]"
    ).tool

    assert isinstance(tool, Pipeline)
    assert [set(task.left) for task in tool.tasks] == [set(), {text} if TEXTS[text] else set()]


def test_pipeline_items_of_kind_workbook_stay():
    tool = start_of(tool="tool: [{a: {kind: workbook, name: w}}]", tail=WORKBOOK).tool

    assert isinstance(tool, Pipeline)
    assert tool.tasks[0].tool.kind == "workbook"


def test_the_model_is_frozen():
    step = start_of()

    with pytest.raises(FrozenInstanceError):
        step.name = "other"


def test_limits_are_the_callers():
    with pytest.raises(PlaybookError) as caught:
        parse_playbook(workflow(start()), limits=YamlLimits(max_chars=20))

    assert caught.value.status == 400


def test_a_large_playbook_parses_quickly():
    steps = [f"step: s{i}, {NOOP}, next: s{i + 1}" for i in range(3000)]
    text = workflow(start("next: s0"), *steps, f"step: s3000, {NOOP}")
    started = time.thread_time()

    playbook = parse_playbook(text)

    assert len(playbook.steps) == 3002
    assert time.thread_time() - started < 5


@pytest.mark.shared
@pytest.mark.skipif(SHARED is None, reason="no contract material beside the checkout")
def test_every_shared_playbook_parses_without_a_warning():
    paths = sorted(SHARED.rglob("*.y*ml"))

    assert paths
    assert {str(path): warnings for path in paths if (warnings := messages(path.read_text()))} == {}


@pytest.mark.parametrize(
    "path",
    sorted(path for path in EXAMPLES.glob("*.yaml") if kind_of(path.read_text()) == "playbook"),
    ids=lambda path: path.name,
)
def test_every_example_parses_without_a_warning(path: Path):
    assert messages(path.read_text()) == []


def test_header_alone_is_no_playbook():
    with pytest.raises(PlaybookError):
        parse_playbook(HEADER)


@pytest.mark.parametrize("params", ["[1, '{{ x }}']", "{a: 1}", "'{{ rows }}'"])
@pytest.mark.parametrize("kind", ["postgres", "duckdb", "ducklake"])
def test_parameters_of_sql_are_a_list_or_a_mapping(kind: str, params: str):
    tool = start_of(tool=f"tool: {{kind: {kind}, query: q, params: {params}}}").tool

    assert isinstance(tool, Tool)
    assert "params" in tool.config


def test_an_agent_runs_as_a_playbook_does():
    text = workflow(start(), head=HEADER)
    agent = text.replace("kind: Playbook", "kind: Agent")

    assert parse_playbook(agent) == parse_playbook(text)
    assert lint(agent) == lint(text)

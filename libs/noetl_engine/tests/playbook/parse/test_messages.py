"""Each rule with its exact message and status."""

import pytest
from noetl_engine.playbook import PlaybookError, parse_playbook
from playbook_texts import HEADER, NOOP, end, start, workflow

CASE = (
    "'case' blocks are not allowed in canonical format. Use 'step.when' for enable guards and "
    "'next[].when' for conditional routing. For pipelines, use 'tool: [- label: {kind: ...}]' "
    "directly on the step."
)
VALID = '["continue", "retry", "break", "jump", "fail"]'
TOOL = "workflow[0]: data did not match any variant of untagged enum ToolDefinition"
NEXT = "workflow[0]: data did not match any variant of untagged enum NextSpec"
AT = " at line 5 column 5"


def refused(text: str) -> PlaybookError:
    with pytest.raises(PlaybookError) as caught:
        parse_playbook(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing field `apiVersion`"),
        ("{}", "missing field `apiVersion`"),
        ("apiVersion: noetl.io/v2", "missing field `kind`"),
        ("apiVersion: noetl.io/v2\nkind: Playbook", "missing field `metadata`"),
        (HEADER, "missing field `workflow`"),
        ("hello", 'invalid type: string "hello", expected struct Playbook at line 1 column 1'),
        ("[1]", "invalid type: sequence, expected struct Playbook at line 1 column 1"),
        (
            "apiVersion: v\nkind: k\nmetadata: {}\nworkflow: []",
            "metadata: missing field `name` at line 3 column 11",
        ),
        (
            "apiVersion: v\nkind: k\nmetadata:\nworkflow: []",
            "metadata: invalid type: unit value, expected struct Metadata at line 3 column 10",
        ),
        (
            "apiVersion: v\nkind: k\nmetadata: {name: [1]}\nworkflow: []",
            "metadata.name: invalid type: sequence, expected a string at line 3 column 18",
        ),
        (
            HEADER + "workflow: {a: 1}",
            "workflow: invalid type: map, expected a sequence at line 4 column 11",
        ),
        (
            HEADER + "workflow: [x]",
            'workflow[0]: invalid type: string "x", expected struct Step at line 4 column 12',
        ),
        (workflow(NOOP), f"workflow[0]: missing field `step`{AT}"),
        (workflow("step: start"), f"workflow[0]: missing field `tool`{AT}"),
        (
            workflow(start(), "step: b"),
            "workflow[1]: missing field `tool` at line 6 column 5",
        ),
        *(
            (workflow(start(tool=f"tool: {tool}")), TOOL + AT)
            for tool in (
                "python",
                "",
                "5",
                "{}",
                "{kind: agent}",
                "{kind: true}",
                "{kind: http, url: 5}",
                "{kind: python, code: 1}",
                "{kind: http, headers: {X: 1}}",
                "{kind: http, headers: [X]}",
                "{kind: http, params: 5}",
                "{kind: noop, args: {}, input: {}}",
                "{kind: noop, eval: {}}",
                "{kind: noop, eval: [5]}",
                "{kind: noop, eval: [{expr: x}]}",
                "[5]",
                "[{kind: agent}]",
                "[{a: {kind: agent}}]",
                "[{a: 5}]",
                "[{name: 5, kind: noop}]",
            )
        ),
        *(
            (workflow(start(f"next: {router}")), NEXT + AT)
            for router in (
                "5",
                "true",
                "[5]",
                "[a, {step: b}]",
                "{arcs: 5}",
                "{arcs: [a]}",
                "{arcs: [{}]}",
                "{arcs: [{step: 5}]}",
                "{arcs: [{step: a, when: true}]}",
                "{arcs: [{step: a, set: 5}]}",
                "{spec: 5}",
                "{spec: {mode: 5}}",
                "[{step: a, args: 5}]",
            )
        ),
        (
            workflow(start("loop: {in: [1], iterator: i}")),
            "workflow[0].loop.in: invalid type: sequence, expected a string at line 5 column 50",
        ),
        (
            workflow(start("loop: {in: x}")),
            "workflow[0].loop: missing field `iterator` at line 5 column 45",
        ),
        (
            workflow(start("loop: {in: x, iterator: i, spec: {mode: async}}")),
            (
                "workflow[0].loop.spec.mode: unknown variant `async`, expected one of "
                "`sequential`, `parallel`, `cursor` at line 5 column 79"
            ),
        ),
        (
            workflow(start("loop: {in: x, iterator: i, spec: {max_in_flight: '5'}}")),
            (
                'workflow[0].loop.spec.max_in_flight: invalid type: string "5", expected i32'
                " at line 5 column 88"
            ),
        ),
        (
            workflow(start("loop: {in: x, iterator: i, spec: {max_in_flight: 1.5}}")),
            (
                "workflow[0].loop.spec.max_in_flight: invalid type: floating point `1.5`, "
                "expected i32 at line 5 column 88"
            ),
        ),
        (
            workflow(start("when: [x]")),
            "workflow[0].when: invalid type: sequence, expected a string at line 5 column 45",
        ),
        (
            workflow(start("set: [x]")),
            "workflow[0].set: invalid type: sequence, expected a map at line 5 column 44",
        ),
        (
            workflow(start(), tail="workbook: {a: 1}\n"),
            "workbook: invalid type: map, expected a sequence at line 4 column 11",
        ),
        (
            workflow(start(), tail="keychain: {a: 1}\n"),
            "keychain: invalid type: map, expected a sequence at line 4 column 11",
        ),
        (
            workflow(start(), tail="keychain: [{name: k, auth: {a: 1}}]\n"),
            "keychain[0].auth: invalid type: map, expected a string at line 4 column 28",
        ),
        (
            workflow(start(), tail="keychain: [{name: k, residency: x}]\n"),
            (
                "keychain[0].residency: unknown variant `x`, expected one of `none`, `advisory`, "
                "`strict` at line 4 column 33"
            ),
        ),
        (
            workflow(start(), tail="workbook: [{name: w, tool: {}}]\n"),
            "workbook[0].tool: missing field `kind` at line 4 column 28",
        ),
        (
            workflow(start(), tail="workload: {a: 1, a: 2}\n"),
            'workload: duplicate entry with key "a" at line 4 column 11',
        ),
        (
            workflow("step: start, step: x, " + NOOP),
            'workflow[0]: duplicate entry with key "step" at line 5 column 5',
        ),
    ],
)
def test_what_does_not_decode_is_a_bad_request(text: str, message: str):
    error = refused(text)

    assert (message, 400) == (str(error), error.status)
    assert error.problems[0].message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (workflow("step: start, case: [x]"), f"Step 'start': {CASE}"),
        (workflow("case: [x]"), f"Step 'workflow[0]': {CASE}"),
        (
            workflow(start(tool="tool: {kind: workbook}")),
            (
                "Step 'start': tool.kind=workbook requires a 'name' field referencing a workbook "
                "action"
            ),
        ),
        (
            workflow(
                start(tool="tool: {kind: workbook, name: z}"),
                tail="workbook: [{name: a, tool: {kind: noop}}, {name: b, tool: {kind: noop}}]\n",
            ),
            (
                "Step 'start': workbook action 'z' not found in playbook.workbook[] "
                "(available: [a, b])"
            ),
        ),
        (
            workflow(start(), head=HEADER.replace("v2", "v10")),
            "Unsupported API version: noetl.io/v10. Expected noetl.io/v2",
        ),
        (
            workflow(start(), head=HEADER.replace("Playbook", "Memory")),
            "Invalid kind: Memory. Expected Playbook",
        ),
        (workflow(end()), "Workflow must have a step named 'start'"),
        (HEADER + "workflow: []", "Workflow must have a step named 'start'"),
        (workflow(start(), end(), end()), "Duplicate step name: end"),
        (
            workflow(start(tool="tool: []")),
            "Step 'start': tool pipeline must have at least one task",
        ),
        (
            workflow(start(tool="tool: [{a: {kind: noop}}, {b: {kind: noop}, c: {kind: noop}}]")),
            "Step 'start': pipeline task[1] must have exactly one labeled entry (got 2)",
        ),
        (
            workflow(start(tool="tool: [{}]")),
            "Step 'start': pipeline task[0] must have exactly one labeled entry (got 0)",
        ),
        (
            workflow(start(tool="tool: {kind: noop, eval: [{expr: 'a { b', do: fail}]}")),
            "Step 'start': eval[0] has invalid expression: a { b",
        ),
        (
            workflow(start(tool="tool: {kind: noop, eval: [{expr: x, do: fly}]}")),
            f"Step 'start': eval[0] has invalid action 'fly'. Valid: {VALID}",
        ),
        (
            workflow(start(tool="tool: {kind: noop, eval: [{else: {do: fly}}]}")),
            f"Step 'start': eval[0] else has invalid action 'fly'. Valid: {VALID}",
        ),
        (
            workflow(start(tool="tool: [{a: {kind: noop, eval: [{expr: '', do: fail}]}}]")),
            "Step 'start': tool[].a.eval[0] has invalid expression: ",
        ),
        (
            workflow(start(tool="tool: [{a: {kind: noop, eval: [{do: fly}]}}]")),
            f"Step 'start': tool[].a.eval[0] has invalid action 'fly'. Valid: {VALID}",
        ),
        (
            workflow(start(tool="tool: [{a: {kind: noop, eval: [{else: {do: fly}}]}}]")),
            f"Step 'start': tool[].a.eval[0] else has invalid action 'fly'. Valid: {VALID}",
        ),
        (
            workflow(start("loop: {in: '{% if x %}', iterator: i}")),
            "Step 'start': loop.in has invalid expression: {% if x %}",
        ),
        (
            workflow(start("loop: {in: x, iterator: ''}")),
            "Step 'start': loop.iterator must not be empty",
        ),
        (
            workflow(start("loop: {iterator: i, spec: {mode: cursor}}")),
            "Step 'start': loop.spec.mode=cursor requires a loop.cursor block with a claim query",
        ),
        (
            workflow(start("loop: {iterator: i}")),
            "Step 'start': loop requires `in:` (the collection expression) for mode=Sequential",
        ),
        (
            workflow(start("loop: {iterator: i, spec: {mode: parallel}}")),
            "Step 'start': loop requires `in:` (the collection expression) for mode=Parallel",
        ),
        (workflow(start("when: 'a { b'")), "Step 'start': invalid 'when' expression: a { b"),
        (workflow(start("when: ''")), "Step 'start': invalid 'when' expression: "),
        *(
            (
                workflow(start(f"next: {router}")),
                "Step 'start' references unknown step 'x' in next",
            )
            for router in ("x", "[x]", "[{step: x}]")
        ),
        (
            workflow(start("next: {arcs: [{step: x}]}")),
            "Step 'start' references unknown step 'x' in next.arcs",
        ),
        (
            workflow(start("next: [{step: end, when: 'a { b'}]"), end()),
            "Step 'start': next[].when has invalid expression: a { b",
        ),
        (
            workflow(start("next: {arcs: [{step: end, when: 'a { b'}]}"), end()),
            "Step 'start': next.arcs[].when has invalid expression: a { b",
        ),
    ],
)
def test_what_breaks_a_rule_is_unprocessable(text: str, message: str):
    error = refused(text)

    assert (message, 422) == (str(error), error.status)


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("5", "workbook[0].tool: invalid type: integer `5`, expected struct ToolSpec at line"),
        ("{kind: x}", "workbook[0].tool: unknown variant `x`, expected one of `http`, `postgres`"),
        ("{kind: http, url: 5}", "workbook[0].tool: url must be a string at line"),
    ],
)
def test_wrong_workbook_tools(tool: str, message: str):
    error = refused(workflow(start(), tail=f"workbook: [{{name: w, tool: {tool}}}]\n"))

    assert str(error).startswith(message)
    assert error.status == 400


def test_a_flag_must_be_a_boolean():
    error = refused(workflow(start(), tail="keychain: [{name: k, auto_renew: 5}]\n"))

    assert str(error).startswith(
        "keychain[0].auto_renew: invalid type: integer `5`, expected a boolean at line"
    )


def test_the_first_problem_is_the_one_the_reference_finds():
    text = workflow(
        start("when: 'a { b'", "loop: {in: x, iterator: ''}", "next: nowhere",
              tool="tool: {kind: noop, eval: [{do: fly}]}"),
        "step: start, tool: []",
        head=HEADER.replace("v2", "v9"),
    )  # fmt: skip

    assert [problem.message.partition(":")[0] for problem in refused(text).problems] == [
        "Unsupported API version",
        "Duplicate step name",
        "Step 'start'",
        "Step 'start'",
        "Step 'start'",
        "Step 'start' references unknown step 'nowhere' in next",
        "Step 'start'",
    ]


def test_every_wrong_step_is_named_with_its_place_and_hint():
    text = workflow(
        start(tool="tool: {kind: http, headers: {X: 1}}"), "step: b", "step: c, next: 5, " + NOOP
    )

    problems = refused(text).problems

    assert [(problem.line, problem.path, problem.hint) for problem in problems] == [
        (5, "workflow[0]", "headers.X must be a string"),
        (6, "workflow[1]", None),
        (7, "workflow[2]", "next must be a string"),
    ]


def test_decoding_comes_before_the_rules():
    text = workflow(start(), "step: x, tool: 5", head=HEADER.replace("v2", "v9"))

    assert refused(text).status == 400


def test_case_comes_before_decoding():
    text = workflow("step: a, tool: 5, case: []")

    assert refused(text).status == 422

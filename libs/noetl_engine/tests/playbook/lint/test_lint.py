"""Findings of the linter with their places."""

import re
from pathlib import Path

import pytest
from noetl_engine.playbook.lint import MAX_FINDINGS, MAX_TEXTS, Finding, Severity, lint
from playbook_texts import EXAMPLES, GOOD, HEADER, NOOP, end, start, workflow

ABOVE = Path(__file__).resolve().parents
PAGES = [path for parent in ABOVE for path in sorted(parent.glob("docs/tools/*.md"))]
SAMPLES = [
    pytest.param(text, id=path.name)
    for path in PAGES
    for text in re.findall(
        r"^```yaml\n(apiVersion.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
    )
]

MANY = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: many
  workload: {a: 1}
workload:
  url: x
  url: y
workflow:
  - step: start
    tool:
      kind: pyton
      code: |
        a = 1
        b = "{{ a b }}"
    next:
      arcs:
        - step: midle
          when: "{{ stepp.x }}"
        - step: last
          cond: "x"
  - step: middle
    tol: {kind: noop}
    loop: {in: "{{ ctx.urll }}", iterator: [1], mode: parallel}
    next: {arcs: [{step: 5}, {step: nowhere}]}
  - step: last
    kind: python
    tool:
      - {name: a, kind: python, code: "result = 1", input: {zip: "007"}}
      - {name: b, kind: http, url: "{{ c.x }}", headers: {X: 1}}
"""


def told(text: str) -> list[tuple[int, int, str, str]]:
    return [(found.line, found.column, str(found.severity), found.rule) for found in lint(text)]


def the_only(text: str) -> Finding:
    (found,) = lint(text)
    return found


def test_everything_is_told_at_once_with_its_place():
    assert told(MANY) == [
        (5, 3, "warning", "misplaced-key"),
        (8, 3, "error", "yaml"),
        (12, 13, "error", "shape"),
        (15, 14, "error", "template"),
        (18, 17, "error", "rule"),
        (19, 18, "warning", "undefined-name"),
        (21, 11, "warning", "inert"),
        (22, 5, "error", "shape"),
        (23, 5, "warning", "unknown-key"),
        (24, 17, "warning", "undefined-name"),
        (24, 44, "error", "shape"),
        (24, 49, "warning", "inert"),
        (25, 26, "error", "shape"),
        (25, 37, "error", "rule"),
        (27, 5, "warning", "misplaced-key"),
        (30, 37, "warning", "undefined-name"),
        (30, 62, "error", "shape"),
    ]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_playbooks_have_no_errors(path: Path):
    assert [found for found in lint(path.read_text()) if found.severity == "error"] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_no_findings_at_all(path: Path):
    assert lint(path.read_text()) == []


@pytest.mark.parametrize("text", SAMPLES)
def test_samples_of_the_tools_pages_need_at_most_a_payload(text: str):
    assert {found.rule for found in lint(text)} <= {"undefined-name"}


def python(code: str, **more: str) -> str:
    extra = "".join(f"      {key}: {value}\n" for key, value in more.items())
    body = "".join(f"        {line}\n" for line in code.splitlines())
    return (
        f"{HEADER}workload: {{name: x, rows: [1]}}\nworkflow:\n  - step: start\n    tool:\n"
        f"      kind: python\n{extra}      code: |\n{body}"
    )


@pytest.mark.parametrize(
    ("text", "rule", "message"),
    [
        ("workflow: [", "yaml", "did not find expected node content"),
        (workflow(start(), tail="a:\tb: c\n"), "yaml", "mapping values"),
        (workflow(start(), head=HEADER.replace("v2", "v9")), "rule", "Unsupported API version"),
        (workflow(start(tool="tool: {kind: htp}")), "shape", "ToolDefinition"),
        (workflow(start("nxt: end")), "unknown-key", "did you mean 'next'?"),
        (workflow(start("arcs: []")), "misplaced-key", "belongs in 'next'"),
        (workflow(start("iterator: x")), "misplaced-key", "belongs in 'loop'"),
        (workflow(start("vars: {a: 1}")), "inert", "write 'set'"),
        (workflow(start("retry: {}")), "inert", "inside 'tool'"),
        (workflow(start("when: x")), "inert", "it always runs"),
        (workflow(start("next: []")), "inert", "leads nowhere"),
        (workflow(start("set: {a.b: 1}")), "inert", "no template can read 'a.b'"),
        (workflow(start("set: {b: '{{ outputt.x }}'}")), "undefined-name", "mean 'output'?"),
        (workflow(start("spec: {on_error: x}")), "inert", "call.error"),
        (workflow(start(tool="tool: {kind: noop, pool: x}")), "inert", "metadata.path"),
        (workflow(start(tool="tool: {kind: noop, loop: {}}")), "misplaced-key", "in a step"),
        (workflow(start(tool="tool: {kind: gcs}")), "tool-not-run", "no worker runs"),
        (workflow(start(tool="tool: [{name: a, kind: workbook}]")), "tool-not-run", "pipeline"),
        (workflow(start(tool="tool: {kind: http}")), "missing-key", "needs 'url'"),
        (
            workflow(start(tool="tool: {kind: http, url: u, param: {}}")),
            "unknown-key",
            "did you mean 'params'?",
        ),
        (
            workflow(start(tool="tool: {kind: nats, auth: n, operation: js_get_msg}")),
            "missing-key",
            "needs 'stream'",
        ),
        (workflow(start(), end()), "unreachable-step", "'end' never runs"),
        (
            workflow(start("next: {arcs: [{step: end}, {step: b}]}"), end(), f"step: b, {NOOP}"),
            "unreachable-arc",
            "the one before it has no 'when'",
        ),
        (workflow(start("next: a"), f"step: a, {NOOP}, next: start"), "endless", "in a circle"),
        (workflow(start("next: ctx"), f"step: ctx, {NOOP}"), "reserved-name", "'ctx'"),
        (
            workflow(start(), tail="workbook: [{name: a, tool: {kind: noop}}]\n"),
            "unused-task",
            "used by no step",
        ),
        (python("result = {{ nme }}"), "braces-in-code", "did you mean 'name'?"),
        (python("result = f'{{name}}'"), "braces-in-code", "f-string"),
        (python("result = '{{'"), "template", "syntax error"),
        (python("result = 1", input='{a: "{{ name | uper }}"}'), "template", "filter uper"),
        (python("result = 1", input='{a: "{{ steps.strt }}"}'), "undefined-name", "'start'?"),
        (python("result = 1", input='{a: "{{ workload.nam }}"}'), "undefined-name", "'name'?"),
        (python("result = 1", input='{a: "{{ event.name }}"}'), "undefined-name", "only in"),
        (python("result = 1", input='{a: "true"}'), "retyped", "becomes the value true"),
        (python("result = 1", input='{a: "{{ token(name) }}"}'), "template", "function: token"),
        (python("result = 1", libs="[requests]"), "libraries", "no package for 'requests'"),
        (workflow(start(), head=HEADER.replace("p/t", "system/t")), "pool", "into pool 'system'"),
        (workflow(start(tool="tool: {kind: rhai}")), "tool-not-run", "no worker of ours"),
        (workflow(start(tool="tool: {kind: snowflake, auth: a, query: SELECT 1}")),
         "tool-package", "noetl-tool-snowflake"),
        (workflow(start(tool="tool: {kind: container}")), "missing-key", "needs 'image'"),
        (workflow(start(tool="tool: [{a: {kind: container, image: i}}]")), "inert", "nobody waits"),
        (
            workflow(start(tool="tool: {kind: http, url: u, payload: {}}")),
            "unknown-key",
            "unknown key 'payload'",
        ),
        (
            workflow(start(tool="tool: {kind: http, url: u, spec: {headers: {}}}")),
            "misplaced-key",
            "belongs in 'tool'",
        ),
        (
            workflow(start(tool="tool: {kind: http, url: u, auth: {token: x}}")),
            "missing-key",
            "'auth' has no 'type': the step fails",
        ),
        (
            workflow(start(tool="tool: [{kind: http, url: u, auth: {type: x}}]")),
            "missing-key",
            "unknown type 'x': it has no effect in a pipeline",
        ),
        (
            workflow(start(tool="tool: {kind: script, script: {content: x}}")),
            "missing-key",
            "'script' needs 'type'",
        ),
        (
            workflow(start(tool="tool: {kind: http, url: u, retry: {retry_on: [timeout, rain]}}")),
            "inert",
            "'rain' is no failure",
        ),
        (
            python("result = 1") + "    loop: {in: rows, iterator: row}\n",
            "plain-text",
            "a list with one word",
        ),
        (
            python("result = 1") + "    loop: {in: workload.rows, iterator: row}\n",
            "plain-text",
            "'workload.rows' is plain text here",
        ),
        (workflow(start(tool="tool: {kind: http, url: u, method: get}")),
         "unknown-word", "'get' is none of the words of 'method': GET, POST"),
        (workflow(start(tool="tool: {kind: transfer, source: {type: ftp, url: u},"
                             " target: {type: postgres, auth: a, table: t}}")),
         "unknown-word", "'ftp' is none of the words of 'type'"),
        (python("result = (1"), "python-syntax", "line 1 of the script: '(' was never closed"),
        (
            python("result = 1", spec='{policy: {rules: [{when: "output.x == 1"}]}}'),
            "plain-text",
            "always true",
        ),
    ],
)  # fmt: skip
def test_one_mistake_is_one_finding(text: str, rule: str, message: str):
    found = the_only(text)

    assert found.rule == rule
    assert message in f"{found.message} {found.hint}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ name | default('x') }}{{ nothing | default('x') }}",
        "{{ nothing is defined and nothing.x }}",
        "{{ nothing or name }}",
        "{% for r in rows %}{{ r }}{{ loop.index }}{% endfor %}",
        "{{ ctx.name ~ workload.name ~ execution_id ~ path ~ start.x ~ steps.start.y }}",
        "{{ range(3) }}",
    ],
)
def test_names_that_may_be_missing_or_are_known_are_fine(template: str):
    assert lint(python("result = 1", input=f'{{a: "{template}"}}')) == []


def test_retry_rules_speak_of_an_answer_and_only_their_syntax_is_checked():
    rule = "tool: {kind: http, url: u, retry: [{when: '{{ response.status_code == 5 }}'}]}"

    assert lint(workflow(start(tool=rule))) == []
    assert the_only(workflow(start(tool=rule.replace("==", "= =")))).rule == "template"


def test_keys_that_mean_something_are_not_told():
    tools = [
        "{kind: http, url: u, retry: {retry_on: [timeout, 503, 5xx, PG_40001], max_attempts: 2}}",
        "{kind: http, url: u, retry: {retry_on_status: [429]}, auth: {type: '{{ path }}'}}",
        "{kind: postgres, auth: a, query: q, params: ['{{ path }}']}",
    ]
    for tool in tools:
        assert lint(workflow(start(tool=f"tool: {tool}"))) == []


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (workflow(start(tool="tool: {kind: duckdb, query: q, input: {a: 1}}")),
         "tool", "'input' has no effect: tool kind 'duckdb' takes no arguments, its values are in"),
        (workflow(start("input: {a: 1}", tool="tool: {kind: duckdb, query: q}")),
         "workflow[0]", "'input' has no effect: tool kind 'duckdb' takes no arguments"),
        (workflow(start(tool="tool: {kind: postgres, auth: a, query: q, timeout: 5}")),
         "tool", "write 'timeout_seconds', or 'timeout' in the 'spec' of the step"),
        (workflow(start(tool="tool: {kind: shell, command: ls, url: u}")),
         "tool", "unknown key 'url' has no effect"),
        (workflow(start(tool="tool: {kind: transfer, source: {type: http, url: u, querry: x},"
                             " target: {type: postgres, auth: a, table: t}}")),
         "tool.source", "unknown key 'querry' has no effect, did you mean 'query'?"),
        (workflow(start(tool="tool: {kind: http, url: u, retry: {max_attempts: 3, delay: 1}}")),
         "tool.retry", "unknown key 'delay' has no effect"),
        (workflow(start(tool="tool: {kind: http, url: u, spec: {error: fail}}")),
         "tool.spec", "unknown key 'error' has no effect, did you mean 'errors'?"),
        (workflow(start(tool="tool: {kind: http, url: u, spec: {timeout: 5}}")),
         "tool.spec", "'timeout' has no effect: it is ignored, write 'timeout' in the tool"),
        (workflow(start(tool="tool: {kind: http, url: u, spec: {policy: {rules: [{wen: x}]}}}")),
         "rules[0]", "unknown key 'wen' has no effect, did you mean 'when'?"),
        (workflow(start("spec: {error: fail}")), "spec", "did you mean 'errors'?"),
        (workflow(start(), tail="spec: {error: fail}\n"), "spec", "did you mean 'errors'?"),
        (workflow(start(tool="tool: {kind: workbook, name: w, retry: {}}"),
                  tail="workbook: [{name: w, tool: {kind: noop}}]\n"),
         "tool", "unknown key 'retry' has no effect"),
        (workflow(start(tool="tool: {kind: workbook, name: w}"),
                  tail="workbook: [{name: w, tool: {kind: shell, command: ls, code: x}}]\n"),
         "workbook[0].tool", "unknown key 'code' has no effect"),
    ],
)  # fmt: skip
def test_keys_that_nothing_reads_are_told_at_every_level(text: str, path: str, message: str):
    found = the_only(text)

    assert found.rule in {"unknown-key", "inert"}
    assert found.path.endswith((path, f"{path}.{found.message.split("'")[1]}"))
    assert message in found.message


@pytest.mark.parametrize(
    "text",
    [
        workflow(start("spec: {errors: fail}", tool="tool: {kind: noop, spec: {errors: fail}}"),
                 tail="spec: {errors: continue}\n"),
        workflow(start(tool="tool: [{a: {kind: duckdb, query: '{{ n }}', input: {n: 1}}}]")),
        workflow(start(tool="tool: {kind: workbook, name: w, input: {a: 1}, output_select: [b]}"),
                 tail="workbook: [{name: w, tool: {kind: noop}}]\n"),
    ],
)  # fmt: skip
def test_keys_that_are_read_there_are_not_told(text: str):
    assert lint(text) == []


def test_kinds_from_other_packages_can_be_named():
    text = workflow(start(tool="tool: {kind: wordcount}"))

    assert the_only(text).rule == "shape"
    assert lint(text, more_kinds={"wordcount"}) == []


def test_a_result_that_sets_variables_makes_names_uncertain():
    text = python("result = {'_context_updates': {'x': 1}}") + '    set: {b: "{{ xyz }}"}\n'

    assert lint(text) == []


def test_where_the_keychain_has_no_value_is_told():
    text = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: k}
keychain:
- {name: api, provider: vault}
- {name: kept}
workflow:
- step: start
  args: {a: "{{ keychain.api }}"}
  input: {a: "{{ keychain.api }}"}
  tool:
    kind: http
    url: "{{ keychain.api.x }}{{ execution_id }}{{ step }}"
    params: {a: "{{ keychain.apy.x }}", b: "{{ keychain.kept }}"}
    spec: {policy: {rules: [{else: {then: {do: fail, set: {a: "{{ keychain.api }}"}}}}]}}
  set: {ctx.a: "{{ keychain.api.x }}"}
  next: [{step: child}]
- step: child
  tool:
  - name: one
    kind: playbook
    path: p
    payload: {a: "{{ keychain.api.x }}"}
  - {name: two, kind: http, url: "{{ keychain.api.x }}", input: {x: "{{ keychain.api }}"}}
"""
    told = [finding for finding in lint(text) if finding.rule != "inert"]
    found = [(finding.path.rpartition("]")[2], finding.message[:53]) for finding in told]

    assert found == [
        (".tool.params.a", "the keychain has no entry 'apy', did you mean 'api'?"),
        (".tool.params.b", "the entry 'kept' of the keychain has neither 'provide"),
        (
            ".tool.spec.policy.rules.else.then.set.a",
            "'keychain' fails here: it has values only in what a t",
        ),
        (".set.ctx.a", "'keychain' fails here: it has values only in what a t"),
        (".payload.a", "'keychain' has no values for 'playbook', which would "),
    ]


def test_payloads_of_on_failure_are_templates_with_names_of_their_own():
    payload = (
        "on_failure: {playbook: p, payload: {a: '{{ path }} {{ day }}', b: '{{ path | no }}'}}\n"
    )
    found = [(one.path, one.rule) for one in lint(workflow(start(), tail=payload))]

    assert found == [
        ("on_failure.payload.a", "undefined-name"),
        ("on_failure.payload.b", "template"),
    ]


def test_iterations_and_pipelines_bring_names_of_their_own():
    text = python("result = 1", input='{a: "{{ row ~ _index ~ iter.row }}"}') + (
        '    loop: {in: "{{ rows }}", iterator: row}\n    next: p\n'
        "  - step: p\n    tool:\n"
        '      - {name: a, kind: noop, set: {ctx.q: "{{ output.x }}"}}\n'
        '      - {name: b, kind: python, code: "result = 1", input: {v: "{{ a.x ~ ctx.q }}"}}\n'
        '      - {name: c, kind: http, url: "{{ a.x }}{{ me }}", input: {me: 1}}\n'
        '      - {name: d, kind: http, url: "{{ d.x }}{{ e.x }}"}\n'
        "      - {name: e, kind: noop}\n"
    )

    assert [found.message.split()[0] for found in lint(text)] == ["'d'", "'e'"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("workload:\n\ta: 1\n", "not with a tab"),
        ("workload:\n  a: {{ x }} y\n", "in quotes"),
        ("workload: {a: {{ x }}}\n", "in quotes"),
        ("workload:\n  a: b: c\n", "': ' in quotes"),
    ],
)
def test_yaml_errors_come_with_advice(line: str, hint: str):
    found = lint(HEADER + line + "workflow: []\n")[0]

    assert found.rule == "yaml"
    assert hint in str(found.hint)


def test_the_number_of_findings_is_bounded_and_errors_stay():
    steps = [f"step: s{n}, {NOOP}, x: 1" for n in range(MAX_FINDINGS + 10)]
    found = lint(workflow(*steps))

    assert len(found) == MAX_FINDINGS
    assert [one for one in found if one.severity is Severity.ERROR]


def test_the_number_of_texts_looked_at_is_bounded_and_said():
    entries = ", ".join(f'a{n}: "x"' for n in range(MAX_TEXTS + 1))
    found = lint(workflow(start(tool=f"tool: {{kind: noop, input: {{{entries}}}}}")))

    assert [one.rule for one in found] == ["limit"]


def test_many_wrong_names_get_only_so_many_guesses():
    steps = [f"step: s{n}, {NOOP}, nex: 1" for n in range(400)]
    found = [one for one in lint(workflow(*steps)) if one.rule == "unknown-key"]

    assert len(found) == 400
    assert 0 < sum("did you mean" in one.message for one in found) < 400

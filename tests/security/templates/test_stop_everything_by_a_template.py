"""A small template that stands for more values than can be walked over, wherever templates stand.

Each of them held up the process that rendered it until that was killed, again and again. Now the
execution fails by name, and others that are started meanwhile go on.
"""

import json

import httpx
import pytest
from noetl_testkit.stack import Stack, execute, finish, register

pytestmark = pytest.mark.e2e

NAME = "more than 100000 nested values"
ENDLESS = (
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% endfor %}{{ ns.x | string | length }}"
)
GOOD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: others, path: hostile-templates/others}
workflow:
  - step: start
    tool: {kind: python, args: {n: "{{ 20 + 1 }}"}, code: "result = {'n': n * 2}"}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
HEAD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: hostile, path: hostile-templates/{path}}}
workflow:
"""
START = """\
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: second}]}
"""
T = json.dumps(ENDLESS)  # YAML reads JSON's strings
TOOL = "    tool: {kind: noop}\n"
PLACES = {
    "configuration": START + f"  - step: second\n    tool: {{kind: noop, result: {T}}}\n",
    "script": START
    + f"  - step: second\n    tool: {{kind: python, args: {{n: {T}}}, code: 'result = n'}}\n",
    "input": START
    + f"  - step: second\n    input: {{n: {T}}}\n    tool: {{kind: python, code: 'result = n'}}\n",
    "args": START
    + f"  - step: second\n    args: {{n: {T}}}\n    tool: {{kind: python, code: 'result = n'}}\n",
    "guard": START + f"  - step: second\n    when: {T}\n" + TOOL,
    "arc": "  - step: start\n"
    + TOOL
    + f"    next: {{arcs: [{{step: second, when: {T}}}]}}\n  - step: second\n"
    + TOOL,
    "set": f"  - step: start\n    set: {{ctx.n: {T}}}\n"
    + TOOL
    + "    next: {arcs: [{step: second}]}\n  - step: second\n"
    + TOOL,
    "set of an arc": "  - step: start\n"
    + TOOL
    + f"    next: {{arcs: [{{step: second, set: {{ctx.n: {T}}}}}]}}\n  - step: second\n"
    + TOOL,
    "loop": START + f"  - step: second\n    loop: {{in: {T}, iterator: one}}\n" + TOOL,
    "max_in_flight": START
    + "  - step: second\n    loop: {in: '{{ [1, 2] }}', iterator: one, "
    + f"spec: {{mode: parallel, max_in_flight: {T}}}}}\n"
    + TOOL,
    "rule": START
    + "  - step: second\n    tool:\n      kind: noop\n      spec:\n        policy:\n"
    + f"          rules: [{{when: {T}, then: {{do: continue}}}}]\n",
    "set of a rule": START
    + "  - step: second\n    tool:\n      kind: noop\n      spec:\n        policy:\n"
    + "          rules: [{when: '{{ true }}', then: {do: continue, "
    + f"set: {{ctx.n: {T}}}}}}}]\n",
    "retry": START
    + "  - step: second\n    tool: {kind: http, url: 'http://127.0.0.1:9/', "
    + f"retry: [{{when: {T}, then: {{max_attempts: 2}}}}]}}\n",
    "pipeline": START + f"  - step: second\n    tool: [{{a: {{kind: noop, input: {{n: {T}}}}}}}]\n",
    "set of a task": START
    + f"  - step: second\n    tool: [{{a: {{kind: noop, set: {{ctx.n: {T}}}}}}}]\n",
    "rule of a task": START
    + "  - step: second\n    tool: [{a: {kind: noop, spec: {policy: {rules: "
    + f"[{{when: {T}, then: {{do: continue}}}}]}}}}}}}}]\n",
}


@pytest.fixture(scope="module")
def client(nats_stack: Stack):
    with nats_stack.client() as client:
        register(client, GOOD)
        yield client


def errors_of(client: httpx.Client, execution_id: int) -> str:
    answer = client.get(f"/api/executions/{execution_id}")
    answer.raise_for_status()
    return answer.text


@pytest.mark.parametrize("place", PLACES)
def test_it_fails_by_name_and_others_go_on(client: httpx.Client, place: str) -> None:
    path = place.replace(" ", "-")
    register(client, HEAD.format(path=path) + PLACES[place])

    hostile = execute(client, f"hostile-templates/{path}")
    others = [execute(client, "hostile-templates/others") for _ in range(3)]

    assert finish(client, hostile) == "FAILED"
    assert NAME in errors_of(client, hostile)
    for other in others:
        assert finish(client, other) == "COMPLETED"


def test_at_the_start_it_is_refused_by_name(client: httpx.Client) -> None:
    register(
        client,
        HEAD.format(path="start") + f"  - step: start\n    tool: {{kind: noop, result: {T}}}\n",
    )

    answer = client.post("/api/execute", json={"path": "hostile-templates/start"})

    assert 400 <= answer.status_code < 500
    assert NAME in answer.text


DATA = """\
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: second}]}
  - step: second
    input: {given: "{{ comment }}"}
    tool: {kind: python, args: {n: "{{ comment }}", m: "<{{ comment }}>"}, code: "result = {'n': n, 'm': m, 'g': given}"}
    next: {arcs: [{step: third}]}
  - step: third
    loop: {in: "{{ [comment] }}", iterator: one}
    tool: {kind: python, code: "result = {'one': one}"}
    next: {arcs: [{step: fourth}]}
  - step: fourth
    tool:
      - a: {kind: python, args: {x: "{{ comment }}"}, code: "result = {'a': x}"}
      - b: {kind: python, input: {y: "{{ a.a }}"}, code: "result = {'b': y}"}
"""  # noqa: E501 - a step on a line


@pytest.mark.parametrize(
    "text", [ENDLESS, "{{ 7*7 }}", "{{ workload }}", "{% endraw %}{{ 7*7 }}", "{{", '<"{{ 1 }}">']
)
def test_as_data_it_is_only_text(client: httpx.Client, text: str) -> None:
    register(client, HEAD.format(path="data") + DATA)

    execution = execute(client, "hostile-templates/data", comment=text)

    assert finish(client, execution) == "COMPLETED"
    found = client.get(f"/api/executions/{execution}").text
    shown = json.dumps(text, ensure_ascii=False)
    for name in ("n", "g", "one", "a", "b"):
        assert f'"{name}":{shown}' in found
    assert f'"m":{json.dumps(f"<{text}>", ensure_ascii=False)}' in found

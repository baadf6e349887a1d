"""Results above the inline limit, wherever a playbook names them."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest
from httpx import Client
from noetl_testkit.stack import Stack, events, execute, finish, register
from noetl_testkit.web import Response, serving
from real_playbooks import DATABASE

pytestmark = pytest.mark.e2e

COUNT = 600
ROWS = f"result = [{{'id': i, 'name': 'x' * 250}} for i in range({COUNT})]"


def kept(client: Client, name: str, workflow: str) -> str:
    """Register a playbook of these steps; return its path."""
    head = f"metadata: {{name: {name}, path: stored/{name}}}"
    path: str = register(client, f"apiVersion: noetl.io/v2\nkind: Playbook\n{head}\n{workflow}")[
        "path"
    ]
    return path


def played(client: Client, name: str, workflow: str, **payload: Any) -> tuple[int, str]:
    """Run a playbook of these steps to its end; return its id and how it ended."""
    execution = execute(client, kept(client, name, workflow), **payload)
    return execution, finish(client, execution)


def error_of(client: Client, execution: int) -> str:
    return str(client.get(f"/api/executions/{execution}").json()["error"])


def data_of(client: Client, execution: int, step: str) -> Any:
    """Return the last result of a step."""
    done = [
        event
        for event in events(client, execution)
        if event["event_type"] == "call.done" and event["node_name"] == step
    ]
    return done[-1]["result"]["context"]["result"]["context"]["data"]


def issued(client: Client, execution: int, step: str) -> list[dict[str, Any]]:
    return [
        event
        for event in events(client, execution)
        if event["event_type"] == "command.issued" and event["node_name"] == step
    ]


LOOPS = f"""
workflow:
- step: start
  tool: {{kind: python, code: "{ROWS}"}}
  next: {{arcs: [{{step: each}}]}}
- step: each
  loop: {{in: "{{{{ start }}}}", iterator: row, spec: {{mode: parallel, max_in_flight: 200}}}}
  tool: {{kind: noop, result: {{id: "{{{{ row.id }}}}"}}}}
  next: {{arcs: [{{step: sum}}]}}
- step: sum
  tool:
    kind: python
    input: {{ids: "{{{{ each | map(attribute='data.id') | list }}}}"}}
    code: "result = {{'count': len(ids), 'sum': sum(ids), 'set': len(set(ids))}}"
"""


def test_a_loop_goes_over_all_elements_of_a_stored_list(transport_stack: Stack) -> None:
    with transport_stack.client() as client:
        execution, status = played(client, "loop", LOOPS)

        assert status == "COMPLETED"
        found = data_of(client, execution, "sum")
        assert found == {"count": COUNT, "sum": COUNT * (COUNT - 1) // 2, "set": COUNT}


PLACES = """
workload: {page: 1}
workflow:
- step: start
  tool:
    kind: python
    code: |
      result = {'rows': [{'id': i, 'name': 'x' * 1000} for i in range(150)], 'total': 150,
                'text': 'é' * 100000, 'deep': {'list': [[i, [i]] for i in range(20)]}, 'no': False}
  output: {output_select: [total]}
  set: {ctx.named: "{{ output.rows | length }}", ctx.last: "{{ output.rows[-1].id }}"}
  next:
    spec: {mode: exclusive}
    arcs:
    - {step: wrong, when: "{{ start.no }}"}
    - {step: wrong, when: "{{ start.rows | length != 150 }}"}
    - step: parts
      when: "{{ start.rows[149].id == 149 and start.text | length == 200000 }}"
      set: {ctx.deep: "{{ start.deep.list }}"}
    - {step: wrong}
- step: wrong
  tool: {kind: python, code: "raise ValueError('a guard did not see the value')"}
- step: parts
  tool:
    kind: python
    input:
      rows: "{{ start.rows }}"
      data: "{{ start.data.rows }}"
      whole: "{{ start }}"
      text: "{{ start.text }}"
      ids: "{{ start.rows | map(attribute='id') | list }}"
      many: "{{ start.rows | selectattr('id', 'ge', 140) | list | length }}"
      ref: "{{ start._ref }}"
      total: "{{ start.total }}"
      is_stored: "{{ start._ref is defined }}"
      preview: "{{ start._preview is defined }}"
      absent: "{{ start.absent is defined }}"
      named: "{{ named }}"
      last: "{{ last }}"
      deep: "{{ ctx.deep }}"
      said: "of {{ start.rows | length }} rows"
    code: |
      result = {'rows': len(rows), 'data': len(data), 'whole': sorted(whole), 'text': len(text),
                'ids': sum(ids), 'many': many, 'ref': ref[:8], 'total': total, 'said': said,
                'flags': [is_stored, preview, absent], 'set': [named, last, len(deep)]}
  next: {arcs: [{step: table}]}
- step: table
  tool:
    kind: postgres
    auth: pg_local
    command: CREATE TABLE IF NOT EXISTS stored_kept (execution_id TEXT, body JSONB)
  next: {arcs: [{step: keep}]}
- step: keep
  tool:
    kind: postgres
    auth: pg_local
    command: INSERT INTO stored_kept VALUES ('{{ execution_id }}', $1::jsonb)
    params: ["{{ start.rows }}"]
  next: {arcs: [{step: piped}]}
- step: piped
  tool:
  - first: {kind: python, input: {rows: "{{ start.rows }}"}, code: "result = {'n': len(rows)}"}
  - second:
      kind: python
      input: {both: "{{ first.n + start.rows | length }}", again: "{{ start.rows }}"}
      code: "result = {'both': both, 'again': len(again)}"
  next: {arcs: [{step: child}]}
- step: child
  tool: {kind: playbook, path: stored/child, return_step: end, args: {items: "{{ start.rows }}"}}
  next: {arcs: [{step: fetched}]}
- step: fetched
  tool:
  - whole: {kind: result_fetch, ref: "{{ start._ref }}"}
  - size: {kind: python, input: {whole: "{{ whole }}"}, code: "result = len(whole['data']['rows'])"}
  output: {output_select: [size]}
"""
CHILD = """
workflow:
- step: start
  loop: {in: "{{ workload['items'] }}", iterator: one, spec: {mode: parallel, max_in_flight: 500}}
  tool: {kind: noop, result: {n: 1}}
  next: {arcs: [{step: end}]}
- step: end
  tool: {kind: python, input: {all: "{{ start | length }}"}, code: "result = {'all': all}"}
"""


def test_every_place_gets_the_value_that_it_names(transport_stack: Stack) -> None:
    with transport_stack.client() as client:
        kept(client, "child", CHILD)
        execution, status = played(client, "places", PLACES)

        assert status == "COMPLETED", error_of(client, execution)
        assert data_of(client, execution, "parts") == {
            "rows": 150,
            "data": 150,
            "whole": ["data", "deep", "no", "rows", "text", "total"],
            "text": 100_000,
            "ids": 150 * 149 // 2,
            "many": 10,
            "ref": "noetl://",
            "total": 150,
            "said": "of 150 rows",
            "flags": [True, False, False],
            "set": [150, 149, 20],
        }
        piped = data_of(client, execution, "piped")
        assert (piped["first"], piped["second"]) == ({"n": 150}, {"both": 300, "again": 150})
        assert data_of(client, execution, "child") == {"all": 150}
        assert data_of(client, execution, "fetched")["size"] == 150
        statement = "SELECT jsonb_array_length(body) FROM stored_kept WHERE execution_id = $1"
        dsn = transport_stack.dsn(DATABASE)
        assert asyncio.run(_value(dsn, statement, str(execution))) == 150


KINDS = """
workflow:
- step: start
  tool:
  - numbers: {kind: python, code: "result = list(range(30000))"}
  - pairs: {kind: python, code: "result = [[i, 'x' * 1000] for i in range(130)]"}
  - mapping: {kind: python, code: "result = {str(i): 'x' * 1000 for i in range(130)}"}
  next:
    spec: {mode: inclusive}
    arcs: [{step: numbers}, {step: pairs}, {step: mapping}, {step: scalar}, {step: piece}]
- step: numbers
  loop: {in: "{{ start.numbers[:50] }}", iterator: n, spec: {mode: parallel}}
  tool: {kind: noop, result: {n: "{{ n }}"}}
  next: [end]
- step: pairs
  loop: {in: "{{ start.pairs }}", iterator: pair, spec: {mode: parallel}}
  tool: {kind: noop, result: {n: "{{ pair[0] }}"}}
  next: [end]
- step: mapping
  loop: {in: "{{ start.mapping }}", iterator: entry, spec: {mode: parallel}}
  tool: {kind: noop, result: {n: "{{ entry.key | int }}"}}
  next: [end]
- step: scalar
  tool: {kind: python, code: "result = 'ab,' * 70000"}
  next: [text]
- step: text
  tool: {kind: python, input: {text: "{{ scalar }}"}, code: "result = {'size': len(text)}"}
  next: [end]
- step: piece
  tool: {kind: noop, result: "{{ start.numbers | sum }} {{ start.mapping | length }}"}
  next: [end]
- step: end
  tool:
    kind: python
    input:
      numbers: "{{ numbers | map(attribute='data.n') | sum }}"
      pairs: "{{ pairs | map(attribute='data.n') | sum }}"
      mapping: "{{ mapping.results | map(attribute='n') | sum }}"
      text: "{{ text.size }}"
      piece: "{{ piece }}"
    code: "result = args"
"""


def test_lists_maps_and_texts_of_any_kind(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        execution, status = played(client, "kinds", KINDS)

        assert status == "COMPLETED", error_of(client, execution)
        assert data_of(client, execution, "end") == {
            "numbers": 50 * 49 // 2,
            "pairs": 130 * 129 // 2,
            "mapping": 130 * 129 // 2,
            "text": 210_000,
            "piece": f"{30000 * 29999 // 2} 130",
        }


FANNED = """
workflow:
- step: start
  loop: {in: "[1, 2, 3]", iterator: n, spec: {mode: parallel}}
  tool: {kind: python, input: {n: "{{ n }}"}, code: "result = {'pad': 'x' * 150000, 'n': n}"}
  next: {arcs: [{step: sum, when: "{{ start.stats.success == 3 and start[2].data.n == 3 }}"}]}
- step: sum
  tool:
    kind: python
    input:
      count: "{{ start | length }}"
      sum: "{{ start.results | map(attribute='n') | sum }}"
      all: "{{ start }}"
      refs: "{{ start | map(attribute='data._ref') | list }}"
    code: |
      result = {'count': count, 'sum': sum, 'all': [len(one['data']['pad']) for one in all],
                'refs': len(set(refs))}
  next: [again]
- step: again
  loop: {in: "{{ start }}", iterator: one}
  tool: {kind: python, input: {pad: "{{ one.data.pad }}"}, code: "result = len(pad)"}
  next: [end]
- step: end
  tool: {kind: noop, result: "{{ again.results }}"}
"""


def test_the_array_of_a_loop_with_large_results(transport_stack: Stack) -> None:
    with transport_stack.client() as client:
        execution, status = played(client, "fanned", FANNED)

        assert status == "COMPLETED", error_of(client, execution)
        found = data_of(client, execution, "sum")
        assert found == {"count": 3, "sum": 6, "all": [150_000] * 3, "refs": 3}
        assert data_of(client, execution, "end") == [150_000] * 3


TOO_LARGE = """
spec: {errors: fail}
workflow:
- step: start
  tool: {kind: python, code: "result = {'rows': [['x' * 1000] for _ in range(9000)], 'n': 9000}"}
  output: {output_select: [n]}
  next: {arcs: [{step: some}]}
- step: some
  tool: {kind: noop, result: "{{ start.n }} of {{ start._ref }}"}
  next: [each]
- step: each
  loop: {in: "{{ start.rows }}", iterator: row}
  tool: {kind: noop}
"""


def test_a_result_above_the_limit_fails_the_step_that_names_it(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        execution, status = played(client, "too_large", TOO_LARGE)

        assert status == "FAILED"
        error = error_of(client, execution)
        assert "step 'each', loop.in: 'rows' in the result of step 'start' is kept" in error
        assert "it has 90" in error
        assert "a decision reads 8388608 at most (NOETL_DECISION_RESULT_BYTES)" in error
        assert str(data_of(client, execution, "some")).startswith("9000 of noetl://")


FIELDS = """
spec: {errors: fail}
workload: {megabytes: 1}
workflow:
- step: start
  tool:
    kind: python
    input: {megabytes: "{{ workload.megabytes }}"}
    code: |
      row = {'id': 0, 'name': 'x' * 980}
      rows = [{**row, 'id': i} for i in range(1000 * megabytes)]
      result = {'before': 3, 'none': None, 'rows': rows, 'text': 'y' * 70000}
      result['zone'] = {'behind': 1.5}
  next: {arcs: [{step: load}]}
- step: load
  tool: {kind: artifact, action: get, input: {result_ref: "{{ start._ref }}"}}
  set: {ctx.last: "{{ output.data.rows[-1].id }}"}
  next:
    spec: {mode: exclusive}
    arcs:
    - {step: use, when: "{{ load.data.zone.behind == 1.5 and load.data.rows | length > 999 }}"}
- step: use
  tool:
    kind: python
    input:
      count: "{{ load.count | default(0) }}"
      none: "{{ start.none | default('no') }}"
      before: "{{ start.before }}"
      loaded: "{{ load.data.before + start.data.before }}"
      behind: "{{ start.zone.behind }}"
      absent: "{{ start.absent is defined or load.data.rows[0].absent is defined }}"
      row: "{{ start.rows[7].id }}"
      text: "{{ start.text }}"
      length: "{{ start.rows | length }}"
      last: "{{ last }}"
    code: "result = {**args, 'text': len(text)}"
  next: {arcs: [{step: piped}]}
- step: piped
  tool:
  - first: {kind: python, code: "result = {'n': 1}"}
  - second:
      kind: python
      input: {n: "{{ first.n + start.before }}", behind: "{{ start.zone.behind }}"}
      code: "result = {'n': n, 'behind': behind}"
"""


@pytest.mark.parametrize("megabytes", [1, pytest.param(15, marks=pytest.mark.slow)])
def test_a_field_costs_what_it_is_whatever_is_beside_it(nats_stack: Stack, megabytes: int) -> None:
    with nats_stack.client() as client:
        execution, status = played(client, "fields", FIELDS, megabytes=megabytes)

        assert status == "COMPLETED", error_of(client, execution)
        assert data_of(client, execution, "use") == {
            "count": 0,
            "none": "no",
            "before": 3,
            "loaded": 6,
            "behind": 1.5,
            "absent": False,
            "row": 7,
            "text": 70_000,
            "length": 1000 * megabytes,
            "last": 1000 * megabytes - 1,
        }
        assert data_of(client, execution, "piped")["second"] == {"n": 4, "behind": 1.5}


ANSWERED = """
spec: {errors: fail}
workload: {url: ""}
workflow:
- step: start
  tool: {kind: http, url: "{{ workload.url }}/rows"}
  next: {arcs: [{step: use, when: "{{ start.status_code == 200 }}"}]}
- step: use
  tool:
    kind: python
    input: {rows: "{{ start.body.rows }}", again: "{{ start.data.rows | length }}"}
    code: "result = {'rows': len(rows), 'again': again}"
"""


def test_an_answer_is_stored_once_and_has_all_its_names(nats_stack: Stack) -> None:
    rows = [{"id": number, "name": "x" * 980} for number in range(5000)]
    body = orjson.dumps({"rows": rows})
    with serving(lambda _: Response({"rows": rows})) as web, nats_stack.client() as client:
        execution, status = played(client, "answered", ANSWERED, url=web.url)

        assert status == "COMPLETED", error_of(client, execution)
        assert data_of(client, execution, "use") == {"rows": 5000, "again": 5000}
        (kept,) = client.get(f"/api/result/{execution}/list").json()["results"]
        assert kept["bytes"] < 1.1 * len(body)
        answers = [
            client.get("/api/result/resolve", params={"ref": kept["ref"]}).json(),
            client.get(f"/api/result/{execution}/start").json()["data"],
        ]
        for answer in answers:
            assert answer["data"]["body"] == answer["data"]["data"] == {"rows": rows}
            assert orjson.loads(answer["stdout"]) == {"rows": rows}


WIDE = """
spec: {errors: fail}
workload: {megabytes: 1}
workflow:
- step: start
  tool:
    kind: python
    input: {megabytes: "{{ workload.megabytes }}"}
    code: |
      rows = [{'id': i, 'text': 'x' * 978 + '\\\\n'} for i in range(1000 * megabytes)]
      result = {'rows': rows, 'count': len(rows)}
  next: {arcs: [{step: use, when: "{{ start.count == 1000 * workload.megabytes }}"}]}
- step: use
  tool:
    kind: python
    input: {last: "{{ start.rows[-1].id }}", text: "{{ start.rows[5].text }}"}
    code: "result = {'last': last, 'text': len(text)}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [44, 60])
def test_a_result_of_many_megabytes_is_there(transport_stack: Stack, megabytes: int) -> None:
    with transport_stack.client() as client:
        execution, status = played(client, "wide", WIDE, megabytes=megabytes)

        assert status == "COMPLETED", error_of(client, execution)
        used = data_of(client, execution, "use")
        assert used == {"last": 1000 * megabytes - 1, "text": 980}


RESTARTED = """
workload: {divisor: 0}
workflow:
- step: start
  tool: {kind: python, code: "result = [{'id': i, 'pad': 'x' * 1000} for i in range(150)]"}
  next: [divide]
- step: divide
  tool:
    kind: python
    input: {rows: "{{ start }}", divisor: "{{ workload.divisor }}"}
    code: "result = {'n': len(rows) / divisor}"
  next: {arcs: [{step: each}]}
- step: each
  loop: {in: "{{ start }}", iterator: row, spec: {mode: parallel}}
  tool: {kind: noop, result: "{{ row.id }}"}
"""


def test_a_restart_reads_the_results_of_its_origin(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        origin, status = played(client, "restarted", "spec: {errors: fail}\n" + RESTARTED)
        assert status == "FAILED"
        answer = client.post(f"/api/executions/{origin}/restart", json={"input": {"divisor": 2}})
        again = int(answer.raise_for_status().json()["execution_id"])

        assert finish(client, again) == "COMPLETED", error_of(client, again)
        assert data_of(client, again, "divide") == {"n": 75}
        assert len(issued(client, again, "each")) == 150
        assert str(origin) in data_of(client, again, "start")["_ref"]


LOST = """
workflow:
- step: start
  tool: {kind: noop}
  next: [end]
- step: end
  tool: {kind: noop}
"""
IN_MEMORY = {
    "kind": "arrow_ipc",
    "shm_name": "noetl_0a1b2c3d_0a1b2c3d",
    "schema_digest": "json",
    "byte_length": 46_137_344,
    "lease_expires_at": "2026-06-14T10:01:00Z",
    "media_type": "application/json",
}


@pytest.mark.parametrize("reference", [IN_MEMORY, None])
def test_a_worker_that_keeps_its_result_to_itself_fails_its_step(
    nats_stack: Stack, reference: Any
) -> None:
    """As the existing worker does when the result store doesn't answer it."""
    result = {"status": "success", "reference": reference} if reference else {"status": "success"}
    with nats_stack.client() as client:
        body = {"path": kept(client, "lost", LOST), "execution_pool": "of-nobody"}
        execution = int(client.post("/api/execute", json=body).json()["execution_id"])
        (command,) = issued(client, execution, "start")
        event_id = command["event_id"]
        url = f"/api/commands/{event_id}/claim"
        client.post(url, json={"worker_id": "other"}).raise_for_status()
        for event_type, status, context in (
            ("command.started", "STARTED", {}),
            ("call.done", "COMPLETED", {"call_index": 0, "result": result}),
            ("command.completed", "success", {"status": "success"}),
        ):
            event = {
                "execution_id": str(execution),
                "event_type": event_type,
                "step": "start",
                "status": status,
                "worker_id": "other",
                "context": {"command_id": f"{execution}:start:{event_id}", **context},
            }
            client.post("/api/events", json=event).raise_for_status()

        assert finish(client, execution) == "FAILED"
        error = error_of(client, execution)
        assert error.startswith("step 'start'")
        assert "is lost: its worker could not store it" in error
        assert not issued(client, execution, "end")


async def _value(dsn: str, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()

"""Results above the inline limit, wherever a playbook names them."""

import asyncio
from typing import Any

import asyncpg
import pytest
from httpx import Client
from noetl_testkit.stack import Stack, events, execute, finish, register
from real_playbooks import DATABASE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

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
    return execution, finish(client, execution, seconds=240)


def error_of(client: Client, execution: int) -> str:
    return str(client.get(f"/api/executions/{execution}").json()["error"])


def data_of(client: Client, execution: int, step: str) -> Any:
    """Return what a step gave last."""
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


async def _value(dsn: str, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()

"""Plug-ins are replaced while executions run, and use credentials that they never see."""

import os
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from noetl.commands.modules import with_module
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, events, execute, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.web import Response, serving

pytestmark = pytest.mark.e2e

PATH = "tests/plugins/versioned"
VERSIONS = 10
RUNS = int(os.environ.get("NOETL_PLUGIN_RUNS", "2"))
"""Executions for each version."""


def versioned(number: int) -> str:
    """A plug-in that says its number."""
    answer = f'{{"data":{number}}}'
    escaped = answer.replace('"', '\\"')
    return f"""
apiVersion: noetl.io/v2
kind: Plugin
metadata: {{name: versioned, path: {PATH}}}
spec:
  interface: noetl.plugin/1
  module:
    wat: |
      (module
        (memory (export "memory") 1)
        (data (i32.const 16) "{escaped}")
        (func (export "alloc") (param i32) (result i32) (i32.const 4096))
        (func (export "run") (param i32 i32) (result i64)
          (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const {len(answer)}))))
"""


PLAYBOOK = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: uses_plugin, path: tests/plugins/uses}}
workflow:
- step: start
  tool: {{kind: wasm, plugin: {PATH}}}
  next: {{arcs: [{{step: loop}}]}}
- step: loop
  loop: {{in: "[1, 2, 3]", iterator: item}}
  tool: {{kind: wasm, plugin: {PATH}, input: {{item: "{{{{ item }}}}"}}}}
  next: {{arcs: [{{step: pipeline}}]}}
- step: pipeline
  tool:
  - first: {{kind: noop}}
  - second: {{kind: wasm, plugin: {PATH}}}
  next: {{arcs: [{{step: pinned}}]}}
- step: pinned
  tool: {{kind: wasm, plugin: "{PATH}@1"}}
"""


def given(client: httpx.Client, execution_id: int) -> JsonObject:
    """Return the results of the runs of each step, in order."""
    found: dict[str, Any] = {}
    for event in events(client, execution_id):
        if event["event_type"] == "call.done":
            data = event["result"]["context"]["result"]["context"]["data"]
            found.setdefault(event["node_name"], []).append(data)
    return found


def test_each_run_has_one_version_while_ten_replace_each_other(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        kept = register(client, PLAYBOOK)
        assert kept["problems"] == [
            f"plug-in '{PATH}' is not registered: step '{step}' fails"
            for step in ("start", "loop", "pipeline', task 'second")
        ] + [f"plug-in '{PATH}@1' is not registered: step 'pinned' fails"]
        assert register(client, versioned(1))["version"] == 1
        assert "problems" not in register(client, PLAYBOOK)

        began: list[tuple[int, int, int]] = []
        newest = [1]
        replaced = threading.Event()

        def replace() -> None:
            with nats_stack.client() as own:
                for number in range(2, VERSIONS + 1):
                    # Also until a run has begun with the version before.
                    while len(began) < (number - 1) * RUNS or began[-1][1] < number - 1:
                        replaced.wait(0.005)
                    newest[0] = register(own, versioned(number))["version"]
                replaced.set()

        thread = threading.Thread(target=replace, daemon=True)
        thread.start()
        while len(began) < VERSIONS * RUNS or began[-1][1] < VERSIONS:
            before = newest[0]
            execution_id = execute(client, "tests/plugins/uses")
            began.append((execution_id, before, newest[0] + 1))
        thread.join(timeout=PATIENCE_SECONDS)
        assert replaced.is_set()

        versions = []
        for execution_id, least, most in began:
            assert finish(client, execution_id) == "COMPLETED"
            found = given(client, execution_id)
            (version,) = found["start"]
            assert found["loop"] == [version] * 3
            assert [one["second"] for one in found["pipeline"]] == [version]
            assert found["pinned"] == [1]
            assert least <= version <= most
            versions.append(version)
        assert versions == sorted(versions)
        assert set(versions) == set(range(1, VERSIONS + 1))


TOKEN = "token-that-nobody-shows"
POSTS = Path(__file__).parents[2] / "examples" / "plugins" / "system" / "scheduled_cleanup.yaml"
LENT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: lends, path: tests/plugins/lends}
workload: {url: none, hosts: [none]}
workflow:
- step: start
  tool: {kind: wasm, plugin: tests/plugins/posts, auth: lent, input: {server_url: "{{ url }}"}}
  next: {arcs: [{step: pipeline}]}
- step: pipeline
  tool:
  - post:
      kind: wasm
      plugin: tests/plugins/posts
      auth: {type: bearer, credential: lent, hosts: "{{ hosts }}"}
      input: {server_url: "{{ url }}"}
"""


def test_a_stored_credential_goes_to_its_host(nats_stack: Stack) -> None:
    with (
        serving(lambda request: Response({"said": dict(request.headers)})) as host,
        serving(lambda _: Response({})) as other,
        nats_stack.client() as client,
    ):
        address, elsewhere = (one.url.removeprefix("http://") for one in (host, other))
        # It posts to where its input says, with the credential of its step.
        document = with_module(POSTS.read_text(), POSTS)
        document = document.replace("system/plugins/scheduled_cleanup", "tests/plugins/posts")
        document = document.replace('["@server"]', f'["{address}", "{elsewhere}"]')
        register(client, document)
        register(client, LENT)
        stored = {"type": "bearer", "data": {"token": TOKEN}, "allowed_hosts": [address]}
        client.post("/api/credentials", json={"name": "lent", **stored}).raise_for_status()

        good = execute(client, "tests/plugins/lends", url=host.url, hosts=[address])
        by_step = execute(client, "tests/plugins/lends", url=host.url, hosts=[elsewhere])
        by_credential = execute(client, "tests/plugins/lends", url=other.url, hosts=[elsewhere])
        ends = [finish(client, one) for one in (good, by_step, by_credential)]
        shown = [
            client.get(f"/api/executions/{one}/events").text
            for one in (good, by_step, by_credential)
        ]

    assert ends == ["COMPLETED", "FAILED", "FAILED"]
    assert [one.headers["authorization"] for one in host.requests] == [f"Bearer {TOKEN}"] * 3
    assert other.requests == []
    assert f"for 'http://{address}', where 'lent' may not go" in shown[1]
    assert f"for 'http://{elsewhere}', where 'lent' may not go" in shown[2]
    assert not any(TOKEN in text for text in shown)

"""Output of steps, seen while they run, over both transports of the workers."""

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from noetl_client import AsyncClient, Connection
from noetl_testkit.stack import Stack

if TYPE_CHECKING:
    from noetl_contract.http.workers.output import StepOutput

pytestmark = pytest.mark.e2e

PATH = "tests/live/printing"
SECRET = "hunter-2-hunter"
LINES = 200_000
PRINTING = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: printing, path: {PATH}}}
workload: {{password: {SECRET}, gate: ""}}
workflow:
  - step: start
    tool:
      kind: python
      code: |
        import os, sys, time
        print("begun")
        print("the word is", variables["workload"]["password"], file=sys.stderr)
        while os.path.exists(variables["workload"]["gate"]):
            time.sleep(0.02)
        for _ in range({LINES} // 1000):
            print("flood\\n" * 999 + "flood")
        result = 1
    next: {{arcs: [{{step: shell}}]}}
  - step: shell
    tool: {{kind: shell, command: "echo from the shell"}}
"""


async def test_lines_are_seen_before_their_step_ends(
    transport_stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    connection = Connection(transport_stack.url, transport_stack.admin_key())
    seen: list[StepOutput] = []
    async with AsyncClient(connection) as client:
        await client.catalog.register(PRINTING)
        execution_id = (await client.start(PATH, {"gate": str(gate)})).execution_id
        is_running: bool | None = None
        async with aclosing(client.output(execution_id)) as output:
            async for one in output:
                seen.append(one)
                if is_running is None:
                    steps = await client.steps(execution_id)
                    is_running = [step.state for step in steps.steps] == ["RUNNING"]
                    gate.unlink()
        events = await client.events(execution_id, event_type="call.done")

    assert is_running
    texts = [(one.step, line.stream, line.text) for one in seen for line in one.lines]
    assert texts[:2] == [
        ("start", "stdout", "begun"), ("start", "stderr", "the word is [REDACTED]"),
    ]  # fmt: skip
    assert texts[-1] == ("shell", "stdout", "from the shell")
    flood = [one for one in seen if one.step == "start"]
    shown = sum(len(one.lines) for one in flood)
    assert shown < LINES / 2
    assert shown + sum(one.dropped for one in flood) == LINES + 2
    assert SECRET not in str(seen)
    kept = {one.node_name: one.result["context"]["result"]["context"] for one in events.events}
    assert kept["shell"]["stdout"] == "from the shell\n"
    assert kept["start"]["stderr"] == "the word is [REDACTED]\n"
    assert kept["start"]["stdout"].endswith("flood\n")

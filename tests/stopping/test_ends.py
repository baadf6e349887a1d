"""Of an execution that is over no tool is begun, although its command waits in the queue."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from noetl_testkit.stack import Stack, finish, register, running_stack
from noetl_testkit.waiting import wait_until

pytestmark = pytest.mark.e2e

SLOTS = 2
WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: waiting, path: ends/waiting}}
workflow:
  - step: start
    tool:
      kind: python
      code: |
        import pathlib, time
        with open("{begun}", "a") as lines:
            lines.write("one\\n")
        while not pathlib.Path("{gate}").exists():
            time.sleep(0.05)
        result = {{}}
"""
MARKING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: ends/{name}}}
spec: {{timeout: {timeout}}}
workflow:
  - step: start
    tool:
      kind: python
      input: {{execution: "{{{{ execution_id }}}}"}}
      code: |
        with open("{marks}", "a") as lines:
            lines.write(f"{{execution}}\\n")
        result = {{}}
"""


@pytest.fixture(scope="module", params=["nats", "http"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    settings = {"NOETL_WORKER_TRANSPORT": request.param, "WORKER_MAX_CONCURRENT": str(SLOTS)}
    with running_stack(environment=settings) as made:
        yield made


def start(client: httpx.Client, path: str, **fields: object) -> str:
    answer = client.post("/api/execute", json={"path": path, **fields})
    answer.raise_for_status()
    return str(answer.json()["execution_id"])


def end(client: httpx.Client, execution: str, how: str, **fields: object) -> str:
    client.post(f"/api/executions/{execution}/{how}", json=fields).raise_for_status()
    return execution


def until_status(client: httpx.Client, execution: str, status: str) -> str:
    def is_so() -> bool:
        found = client.get(f"/api/executions/{execution}/status").json()
        return bool(found["status"] == status)

    wait_until(is_so, what=f"{execution} is {status}")
    return execution


def lines_of(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_what_waits_behind_others_is_not_begun(stack: Stack) -> None:
    gate, begun, marks = (stack.scratch / name for name in ("gate", "begun", "marks"))
    with stack.client() as client:
        register(client, WAITING.format(gate=gate, begun=begun))
        for name, timeout in (("quick", "10m"), ("hurried", "2s")):
            register(client, MARKING.format(name=name, timeout=timeout, marks=marks))
        parent, *_ = [start(client, "ends/waiting") for _ in range(SLOTS)]
        wait_until(lambda: len(lines_of(begun)) == SLOTS, what="all slots are taken")
        # So many wait that some are at the worker and some at the broker.
        ended = [
            end(client, start(client, "ends/quick"), "cancel", reason="test") for _ in range(10)
        ]
        finalized = start(client, "ends/quick")
        ended.append(end(client, finalized, "finalize", status="FAILED", reason="test"))
        ended.append(until_status(client, start(client, "ends/hurried"), "FAILED"))
        child = start(client, "ends/quick", parent_execution_id=int(parent))
        last = start(client, "ends/quick")
        end(client, parent, "cancel", cascade=True)
        ended.append(until_status(client, child, "CANCELLED"))
        gate.touch()
        assert finish(client, int(last)) == "COMPLETED"

    ran = lines_of(marks)
    assert last in ran
    assert set(ran) & set(ended[:-1]) == set(), "their ends had been answered"
    # The slot of the parent may have gone to its child before that was cancelled in its turn.
    assert len(ran) - (child in ran) == 1

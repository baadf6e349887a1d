"""A stack with something to see in its console."""

from dataclasses import dataclass
from typing import Any

from noetl_testkit.stack import Stack

SLOW = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: console/slow}
workflow:
  - step: start
    tool: {kind: python, code: "import time; print('half <way>'); time.sleep(1.5)"}
    next: {arcs: [{step: second}]}
  - step: second
    tool: {kind: python, code: "import time; time.sleep(1.5)"}
"""
BROKEN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: broken, path: console/broken}
workload: {n: 3, level: low}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: call}, {step: each}]}
  - step: call
    tool: {kind: http, url: "http://127.0.0.1:9/", method: GET}
  - step: each
    loop: {in: "{{ [1, 2, 3] }}", iterator: i}
    tool: {kind: python, args: {i: "{{ iter.i }}"}, code: "result = {'i': i}"}
"""

SOFT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: soft, path: console/soft}
workflow:
  - step: start
    tool: {kind: python, code: "print('one of many lines'); result = 1 / 0"}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
EDITED = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: edited, path: console/edited}}
workload: {{of: {n}}}
workflow:
  - step: start
    tool: {{kind: noop}}
"""
EDITS = 2
"""Versions of it that there are at first."""
CHAIN = (
    """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: chain, path: console/chain}
workflow:
"""
    + "".join(
        f"""
  - step: {"start" if number == 0 else f"s{number}"}
    tool: {{kind: python, code: "import time; time.sleep(0.4)"}}
    next: {{arcs: [{{step: s{number + 1}}}]}}
"""
        for number in range(12)
    )
    + "  - step: s12\n    tool: {kind: noop}\n"
)


@dataclass(frozen=True)
class Seen:
    """A stack and some of its executions."""

    stack: Stack
    broken: str
    waiting: str

    def get(self, path: str) -> Any:
        with self.stack.client() as client:
            answer = client.get(f"/noetl/{path}")
            answer.raise_for_status()
            return answer.json()

    def page(self, path: str) -> str:
        return f"{self.stack.url}/console{path}"

    def start(self, path: str) -> str:
        with self.stack.client() as client:
            return str(client.post("/noetl/execute", json={"path": path}).json()["execution_id"])

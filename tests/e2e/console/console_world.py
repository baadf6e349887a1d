"""A stack with something to see in its console."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.web import Request, Response, serving
from playwright.async_api import BrowserContext

type OpenContext = Callable[..., Awaitable[BrowserContext]]

HELD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: held, path: console/held}
workload: {gate: ""}
workflow:
  - step: start
    tool:
      kind: python
      args: {gate: "{{ workload.gate }}"}
      code: |
        from urllib.request import urlopen
        print("half <way>", flush=True)
        urlopen(gate + "/start").read()
    next: {arcs: [{step: second}]}
  - step: second
    tool:
      kind: python
      args: {gate: "{{ workload.gate }}"}
      code: |
        from urllib.request import urlopen
        urlopen(gate + "/second").read()
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

    def start(self, path: str, **payload: str) -> str:
        wanted = {"path": path, "payload": payload}
        with self.stack.client() as client:
            return str(client.post("/noetl/execute", json=wanted).json()["execution_id"])

    @contextmanager
    def held(self) -> Iterator["Held"]:
        """Start an execution whose steps end when they may, with the block at the latest."""
        gates = {"/start": Event(), "/second": Event()}

        def answer(request: Request) -> Response:
            gates[request.path].wait(PATIENCE_SECONDS)
            return Response(b"go on")

        with serving(answer) as server:
            run = Held(self.start("console/held", gate=server.url), gates)
            try:
                yield run
            finally:
                for gate in gates.values():
                    gate.set()
            # Its scripts ask this server.
            address = f"executions/{run.execution_id}/status"
            wait_until(lambda: self.get(address)["completed"], what="the execution is over")


@dataclass(frozen=True)
class Held:
    """An execution whose steps wait for the test."""

    execution_id: str
    gates: dict[str, Event]

    def let_end(self, step: str) -> None:
        self.gates[f"/{step}"].set()

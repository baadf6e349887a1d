"""A worker of another make, with the address of one command."""

from dataclasses import dataclass
from typing import Any

import httpx
from noetl_contract.access.capability import Capability
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, register
from noetl_testkit.waiting import PATIENCE_SECONDS

from .callers import COMMAND_KEY, Callers

POOL = "gpu"
TWO_STEPS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: existing, path: access/existing}
workflow:
- step: start
  tool: {kind: noop}
"""


@dataclass
class ExistingWorker:
    """One command, as an existing worker has it from its notification."""

    stack: Stack
    execution_id: int
    event_id: int
    name: str

    def address(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Return the ``server_url`` of the notification."""
        key = COMMAND_KEY.encode()
        login = Capability(self.execution_id, self.event_id, 1).userinfo(key)
        return f"http://{login}@{host}:{port or self.stack.port}"

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Call below the address, without any other login."""
        return httpx.request(
            method, self.address() + path, json=json, timeout=PATIENCE_SECONDS, **options
        )

    def claim(self) -> int:
        """Claim the command."""
        body = {"worker_id": self.name}
        return self.call("POST", f"/api/commands/{self.event_id}/claim", body).status_code

    def report(self) -> list[int]:
        """Post the events of a run."""
        command_id = f"{self.execution_id}:start:{self.event_id}"
        result = {"status": "success", "context": {"status": "success", "data": {"n": 1}}}
        shapes: list[tuple[str, str, dict[str, Any]]] = [
            ("command.started", "STARTED", {}),
            ("call.done", "COMPLETED", {"call_index": 0, "result": result}),
            ("command.completed", "COMPLETED", {"status": "COMPLETED"}),
        ]
        return [
            self.call(
                "POST",
                "/api/events",
                {
                    "execution_id": self.execution_id,
                    "event_type": event_type,
                    "step": "start",
                    "status": status,
                    "worker_id": self.name,
                    "meta": {"attempts": 0},
                    "context": {"command_id": command_id, **context},
                },
            ).status_code
            for event_type, status, context in shapes
        ]


def issued(stack: Stack, caller: Callers, name: str) -> ExistingWorker:
    """Start an execution in a pool that has no worker, and return its command."""
    admin = caller.of(Role.ADMIN)
    register(admin, TWO_STEPS)
    body = {"path": "access/existing", "execution_pool": POOL}
    started = admin.post("/api/execute", json=body)
    started.raise_for_status()
    number = int(started.json()["execution_id"])
    query = {"event_type": "command.issued"}
    told = admin.get(f"/api/executions/{number}/events", params=query).json()["events"]
    return ExistingWorker(stack, number, int(told[0]["event_id"]), name)

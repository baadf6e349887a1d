"""A script uses the login of its command outside of the namespace that its owner is bound to."""

import re

import httpx
from noetl_contract.access.capability import Capability
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, events, execute, register
from noetl_testkit.waiting import wait_until

from .callers import COMMAND_KEY, Callers

_STARTED = "command.started"
WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: waiting, path: {path}}}
workflow:
- step: start
  tool: {{kind: python, code: "import time\\ntime.sleep(60)"}}
"""
HARMLESS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: harmless, path: {path}}}
workflow:
- step: start
  tool: {{kind: noop}}
"""


def running_command(client: httpx.Client, execution_id: int) -> int:
    """Return the event id of the command that a worker has begun."""

    def started() -> list[dict[str, object]]:
        return [one for one in events(client, execution_id) if one["event_type"] == _STARTED]

    wait_until(lambda: bool(started()), what="the step runs")
    found = re.search(r"\d+:start:(\d+)", str(started()[0]))
    assert found is not None
    return int(found[1])


def test_children_stay_in_the_namespace_of_the_owner(asking_stack: Stack, caller: Callers) -> None:
    admin = caller.of(Role.ADMIN)
    for path in ("steps-a/wait", "steps-b/wait"):
        register(admin, WAITING.format(path=path))
    for path in ("steps-a/x", "steps-b/x"):
        register(admin, HARMLESS.format(path=path))
    wish = {"name": "steps-a", "roles": ["operator"], "namespaces": ["steps-a"]}
    bound = caller.with_token(admin.post("/api/admin/keys", json=wish).json()["token"])
    own, foreign = execute(bound, "steps-a/wait"), execute(admin, "steps-b/wait")
    commands = {one: running_command(admin, one) for one in (own, foreign)}
    login = Capability(own, commands[own], 1).userinfo(COMMAND_KEY.encode()).split(":", 1)
    ended = {"execution_id": str(own), "event_type": "playbook.completed", "step": "start"}
    with asking_stack.client("") as script:
        script.auth = httpx.BasicAuth(*login)

        def start(place: str, path: str) -> int:
            return script.post(place, json={"path": path}).status_code

        statuses = {
            "own": start("/api/execute", "steps-a/x"),
            "foreign": start("/api/execute", "steps-b/x"),
            "end": script.post("/api/events", json=ended).status_code,
        }
    still = admin.get(f"/api/executions/{own}/status").json()["status"]
    for one in (own, foreign):
        admin.post(f"/api/executions/{one}/cancel")

    assert statuses == {
        "own": 200,
        "foreign": 403,
        "end": 403,
    }
    assert still == "RUNNING"

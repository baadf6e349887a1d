"""Runs one attacking step and returns its observations."""

import textwrap
from typing import Any

import httpx
from noetl_testkit.stack import Stack, execute, finish, register


def python_step(path: str, code: str, **arguments: Any) -> str:
    """Return a playbook of one python step."""
    lines = textwrap.indent(textwrap.dedent(code).strip(), " " * 8)
    given = "".join(f"\n        {name}: {value!r}" for name, value in arguments.items())
    args = f"\n      args:{given}" if given else ""
    return (
        "apiVersion: noetl.io/v2\nkind: Playbook\n"
        f"metadata: {{name: attack, path: {path}}}\n"
        "workflow:\n  - step: start\n    tool:\n      kind: python"
        f"{args}\n      code: |\n{lines}\n"
    )


def result_of(client: httpx.Client, path: str, playbook: str) -> Any:
    """Run a playbook to its end and return the data of its only step."""
    register(client, playbook)
    execution = execute(client, path)
    finish(client, execution)
    events = client.get(f"/api/executions/{execution}/events", params={"limit": 200}).json()
    found = [
        event["result"]["context"]["result"]["context"]
        for event in events["events"]
        if event["event_type"] == "call.done"
    ]
    assert len(found) == 1, events
    return found[0]["data"]


def pids(stack: Stack) -> dict[str, int]:
    """Return the processes of the stack by service."""
    return {name: state["pid"] for name, state in stack.services().items() if state["pid"]}

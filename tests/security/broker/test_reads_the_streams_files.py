"""An attacker reads the files in which the broker keeps its streams."""

import uuid
from collections.abc import Iterator

from noetl_testkit.stack import Stack, execute, finish, register

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: at_rest, path: security/at_rest}
workload: {password: ""}
workflow:
  - step: start
    tool: {kind: noop}
"""


def stored(stack: Stack) -> Iterator[bytes]:
    """Return the content of the files below the broker's folder."""
    for path in (stack.data / "nats").rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def test_values_of_executions_are_not_in_them(nats_stack: Stack) -> None:
    secret = f"pw-{uuid.uuid4().hex}"
    with nats_stack.client() as client:
        register(client, PLAYBOOK)
        execution_id = execute(client, "security/at_rest", password=secret)
        assert finish(client, execution_id) == "COMPLETED"
        detail = client.get(f"/api/executions/{execution_id}").text

    assert str(execution_id) in detail
    assert not any(secret.encode() in data for data in stored(nats_stack))

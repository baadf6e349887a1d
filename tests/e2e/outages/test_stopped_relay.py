"""A relay that stands still holds up nothing that is committed (O2)."""

import asyncio
import os
import signal

import asyncpg
import nats
import orjson
import pytest
from noetl_contract.streams import EVENTS
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_for

LARGE = "x" * 70_000
PLAYBOOK = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: wide, path: stopped_relay/wide}}
workload: {{items: []}}
workflow:
  - step: start
    loop: {{in: "{{{{ workload.items }}}}", iterator: item, spec: {{mode: parallel}}}}
    tool: {{kind: noop}}
    next: {{arcs: [{{step: large}}]}}
  - step: large
    tool: {{kind: noop, message: {LARGE}}}
"""


async def ends(stack: Stack, execution_id: int) -> list[str]:
    """Return the types of the events of an execution that outside readers get."""
    async with await nats.connect(stack.values()["NOETL_NATS_URL"]) as client:
        stream = client.jetstream()
        found = await stream.stream_info(EVENTS.name)
        numbers = range(found.state.first_seq, found.state.last_seq + 1)
        bodies = [
            orjson.loads((await stream.get_msg(EVENTS.name, one)).data or b"") for one in numbers
        ]
    return [one["event_type"] for one in bodies if one["execution_id"] == str(execution_id)]


async def unconfirmed(stack: Stack) -> int:
    """Return how many rows the relay does not know to be published."""
    connection = await asyncpg.connect(stack.dsn())
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM noetl.outbox WHERE status != 'PUBLISHED'"
        )
    finally:
        await connection.close()
    return found


@pytest.mark.e2e
def test_an_execution_runs_to_its_end_while_the_relay_stands_still() -> None:
    with running_stack() as stack, stack.client() as client:
        register(client, PLAYBOOK)
        relay = stack.services()["outbox"]["pid"]
        os.kill(relay, signal.SIGSTOP)
        try:
            execution_id = execute(client, "stopped_relay/wide", items=list(range(256)))

            assert finish(client, execution_id) == "COMPLETED"
            wait_for(
                lambda: asyncio.run(ends(stack, execution_id)) == ["playbook.completed"],
                what="outside readers hear of the end",
            )
            assert asyncio.run(unconfirmed(stack)) > 256
        finally:
            os.kill(relay, signal.SIGCONT)

        wait_for(lambda: not asyncio.run(unconfirmed(stack)), what="the relay has caught up")
        assert asyncio.run(ends(stack, execution_id)) == ["playbook.completed"]

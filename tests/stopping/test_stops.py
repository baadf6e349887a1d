"""A cancel stops the work of a tool, on its server and with its children."""

import asyncio

import pytest
from noetl_testkit.stack import Stack, events
from noetl_testkit.waiting import eventually
from stops import TOOLS, World, fresh_mark, opened

pytestmark = pytest.mark.e2e


async def stop_all(stack: Stack) -> list[str]:
    """Let every tool begin, and cancel all of them; return the executions."""
    async with opened(stack) as world:
        marks = {tool: fresh_mark() for tool in TOOLS if tool != "duckdb"}
        begun = await asyncio.gather(*(world.begin(tool, mark) for tool, mark in marks.items()))
        began = dict(zip(marks, begun, strict=True))
        await asyncio.gather(
            *(world.seconds_until_gone(tool, mark, began[tool]) for tool, mark in marks.items())
        )
        await eventually(lambda: has_slots(world), what="the slots are free")
        # Only its slot shows that it works.
        duckdb = await world.begin("duckdb", fresh_mark())
        await world.seconds_until_gone("duckdb", "", duckdb)
        return [*begun, duckdb]


async def has_slots(world: World) -> bool:
    return await world.slots() == 0


def test_a_cancel_reaches_the_running_tools(transport_stack: Stack) -> None:
    cancelled = asyncio.run(stop_all(transport_stack))

    with transport_stack.client() as client:
        for execution_id in cancelled:
            types = [event["event_type"] for event in events(client, int(execution_id))]
            assert types[-1] == "playbook_cancelled"
            assert "call.done" not in types

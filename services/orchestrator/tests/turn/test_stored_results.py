"""Results of the result store that templates of a decision ask for."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from noetl_bus.rpc import handle, serve_rpc
from noetl_contract.json import Json, encode
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import RESULT_PART, PartOfResult
from noetl_contract.tools.results import Part, part_of
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Shard

OVER_ROWS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: rows, path: tests/rows}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: each}]}
  - step: each
    loop: {in: "{{ start.rows }}", iterator: row, spec: {mode: parallel}}
    tool: {kind: python, args: {row: "{{ row }}", count: "{{ start.rows | length }}"}, code: "1"}
"""
ROWS = [{"id": number} for number in range(3)]


@asynccontextmanager
async def store(shard: Shard, documents: Mapping[str, Json]) -> AsyncIterator[list[str]]:
    """Answer for stored results; yield the references that were asked for."""
    asked: list[str] = []

    async def read(request: PartOfResult) -> Part | Refusal:
        asked.append(request.ref)
        if request.ref not in documents:
            return Refusal(404, "result not found")
        return part_of(encode(documents[request.ref]), tuple(request.path), most=request.most)

    async with serve_rpc(shard.bus, [handle(RESULT_PART, read)], queue="t", shard=0):
        yield asked


def ref_of(execution_id: int) -> str:
    return f"noetl://execution/{execution_id}/result/start/1"


async def report(shard: Shard, execution_id: int, *, ref: str) -> None:
    """Report the first step's result as one of the result store."""
    command = await shard.command(execution_id)
    message = shard.fast(command, data={"data": {"_ref": ref}})
    answer = await shard.send(execution_id, message, seconds=PATIENCE_SECONDS)
    assert answer["status"] == "ok", answer


async def error_of(shard: Shard, execution_id: int) -> str:
    (*_, end) = await shard.log(execution_id)
    assert end["event_type"] == "playbook.failed"
    return str(end["error"])


async def test_a_loop_over_a_stored_result_goes_over_its_elements(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(OVER_ROWS)
    ref = ref_of(execution_id)

    async with store(shard, {ref: {"status": "success", "data": {"rows": ROWS}}}) as asked:
        await report(shard, execution_id, ref=ref)
        commands = await shard.open_commands(execution_id)
        # In memory from then on, until the execution is read again.
        for command in commands:
            await shard.send(execution_id, shard.fast(command))

    assert len(commands) == 3
    assert asked == [ref]
    issued = [one for one in await shard.log(execution_id) if one["node_name"] == "each"]
    rows = [one["context"]["tool_config"]["args"] for one in issued if one["context"]]
    assert [(one["row"], one["count"]) for one in rows] == [(row, 3) for row in ROWS]
    assert (await shard.types(execution_id))[-1] == "playbook.completed"


async def test_a_result_that_is_gone_fails_the_step_by_name(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(OVER_ROWS)
    ref = ref_of(execution_id)

    async with store(shard, {}):
        await report(shard, execution_id, ref=ref)

    error = await error_of(shard, execution_id)
    assert "step 'each', loop.in: 'rows' in the result of step 'start' is kept" in error
    assert f"{ref} is not in the result store" in error


async def test_a_result_above_the_limit_fails_the_step_with_its_size(shard: Shard) -> None:
    await shard.open_replica(decision_result_bytes=50)
    execution_id = await shard.start(OVER_ROWS)
    ref = ref_of(execution_id)
    document: Json = {"status": "success", "data": {"rows": ["x" * 100]}}

    async with store(shard, {ref: document}):
        await report(shard, execution_id, ref=ref)

    size = len(encode(document["data"]["rows"]))
    assert f"it has {size} bytes, and a decision reads 50 at most" in await error_of(
        shard, execution_id
    )


async def test_a_silent_store_is_waited_for(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(OVER_ROWS)
    ref = ref_of(execution_id)
    command = await shard.command(execution_id)
    await shard.publish(execution_id, shard.fast(command, data={"data": {"_ref": ref}}))
    await eventually(lambda: replica.rooms.dispatcher.waits, what="the decision waits")
    other = await shard.start()
    assert await shard.open_commands(other)

    async def goes_on() -> bool:
        return len(await shard.open_commands(execution_id)) == 3

    async with store(shard, {ref: {"status": "success", "data": {"rows": ROWS}}}):
        await eventually(goes_on, what="the loop goes on")


@pytest.mark.parametrize("is_origin", [True, False])
async def test_results_of_another_execution_are_those_of_its_origins_only(
    shard: Shard, *, is_origin: bool
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(OVER_ROWS)
    ref = ref_of(execution_id - 1)
    if is_origin:
        await replica.rooms.loader._origins.note_restart(execution_id, origin=execution_id - 1)
    command = await shard.command(execution_id)
    message = shard.fast(command, data={"data": {"_ref": ref}})
    result = message["events"][1]["context"]["result"]
    result["reference"] = {"kind": "result_ref", "ref": ref}

    async with store(shard, {ref: {"status": "success", "data": {"rows": ROWS}}}) as asked:
        await shard.send(execution_id, message, seconds=PATIENCE_SECONDS)

    if is_origin:
        assert len(await shard.open_commands(execution_id)) == 3
    else:
        assert "it is of another execution" in await error_of(shard, execution_id)
        assert asked == []

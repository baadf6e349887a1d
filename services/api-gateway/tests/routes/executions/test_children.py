"""Starts by a command's run: the parent's shard answers which child they stand for (L6)."""

import base64

import httpx
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from ...conftest import EXECUTION_ID, World

BODY = {"path": "p", "payload": {"b": 1, "a": [2]}, "parent_execution_id": EXECUTION_ID}
LOGIN = base64.b64encode(f"{EXECUTION_ID}.77:1.secret".encode()).decode()
CHILD_ID = 325077236512459999


async def start(world: World, body: JsonObject) -> httpx.Response:
    """Start an execution as the run of a command does, which the user name of Basic names."""
    return await world.post("/api/execute", body, authorization=f"Basic {LOGIN}")


async def test_a_start_by_a_command_goes_out_under_the_child_s_id(world: World) -> None:
    world.backend.answer("child", {"child_id": CHILD_ID, "trace": None})
    answer = await start(world, BODY)

    assert answer.json()["execution_id"] == str(CHILD_ID)
    (asked,) = world.backend.requests("child")
    assert (asked["execution_id"], asked["event_id"]) == (EXECUTION_ID, 77)
    (started,) = world.backend.ingress
    assert started["execution_id"] == CHILD_ID
    assert started["parent_execution_id"] == EXECUTION_ID


async def test_equal_payloads_have_equal_digests(world: World) -> None:
    world.backend.answer("child", lambda request: {"child_id": request["child_id"]})
    await start(world, BODY)
    await start(world, {**BODY, "payload": {"a": [2], "b": 1}})
    await start(world, {**BODY, "payload": {"a": [2], "b": 2}})

    first, same, other = (request["payload_digest"] for request in world.backend.requests("child"))
    assert first == same != other


async def test_a_start_that_no_command_makes_asks_nobody(world: World) -> None:
    answer = await world.post("/api/execute", BODY)

    assert answer.status_code == 200
    assert world.backend.requests("child") == []


async def test_a_run_that_is_over_is_told_so(world: World) -> None:
    text = "Command already reached terminal state"
    world.backend.answer("child", RpcReply(status=409, error=text))
    answer = await start(world, BODY)

    assert (answer.status_code, answer.json()["error"]) == (409, text)
    assert world.backend.ingress == []

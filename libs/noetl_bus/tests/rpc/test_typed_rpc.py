"""Typed operations: both sides take models, subjects and errors from one declaration."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest
from noetl_bus.broker import Bus
from noetl_bus.rpc import Encoded, RpcClient, RpcRefused, RpcUnavailable, encoded, handle, serve_rpc
from noetl_common.errors import NoetlError, NotFound
from noetl_contract.http.executions.reads import CancellationCheck
from noetl_contract.http.executions.variables import NewVar, VarEntry, VarsSetAnswer
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector import (
    EXECUTIONS_CANCELLED,
    EXECUTIONS_EXISTS,
    VARS_GET,
    VARS_SET,
    ExecutionExists,
    ExecutionName,
    VarName,
    VarsSet,
)
from noetl_testkit.waiting import PATIENCE_SECONDS

type Way = Callable[[Operation[Any, Any]], Operation[Any, Any]]
"""How requests reach a handler: returns an operation that is served so."""

ENTRY = {
    "var_name": "x",
    "var_type": "user_defined",
    "var_value": {"deep": [1, None]},
    "source_step": None,
    "created_at": "2026-06-15T12:00:00.123456Z",
    "accessed_at": "2026-06-15T12:00:00.123456Z",
    "access_count": 3,
}


@pytest.fixture(params=["faststream", "direct"])
def way(request: pytest.FixtureRequest) -> Way:
    return partial(replace, is_busy=request.param == "direct")


@pytest.fixture
def shard(bus_prefix: str) -> int:
    """Return a shard that no other test uses."""
    return int(bus_prefix.encode().hex(), 16) % 10**9


async def test_a_model_goes_there_and_a_model_comes_back(bus: Bus, shard: int, way: Way) -> None:
    asked: list[VarsSet] = []

    async def on_set(request: VarsSet) -> VarsSetAnswer:
        asked.append(request)
        return VarsSetAnswer(execution_id=request.execution_id, status="ok", variables_set=1)

    wanted = VarsSet(execution_id=7, variables=[NewVar(var_name="x", var_value=None)])
    async with serve_rpc(bus, [handle(way(VARS_SET), on_set)], queue="q", shard=shard):
        answer = await RpcClient(bus).ask(VARS_SET, wanted, shard=shard, seconds=PATIENCE_SECONDS)

    assert answer == VarsSetAnswer(execution_id=7, status="ok", variables_set=1)
    assert asked == [wanted]


async def test_an_encoded_answer_passes_through(bus: Bus, shard: int, way: Way) -> None:
    async def on_get(_request: VarName) -> Encoded[VarEntry]:
        return encoded(VARS_GET, ENTRY | {"var_value": orjson.Fragment(b"12345678901234567890")})

    wanted = VarName(execution_id=7, var_name="x")
    async with serve_rpc(bus, [handle(way(VARS_GET), on_get)], queue="q", shard=shard):
        answer = await RpcClient(bus).ask(VARS_GET, wanted, shard=shard, seconds=PATIENCE_SECONDS)
        reply = await RpcClient(bus).forward(
            VARS_GET, wanted, shard=shard, seconds=PATIENCE_SECONDS
        )

    assert answer.var_value == 12345678901234567890
    assert reply.status == 200
    assert reply.body["access_count"] == 3


async def test_keys_that_are_not_set_are_absent(bus: Bus, shard: int, way: Way) -> None:
    async def on_check(_request: ExecutionName) -> CancellationCheck:
        return CancellationCheck.model_construct({"cancelled"}, cancelled=True, status="RUNNING")

    wanted = ExecutionName(execution_id=7)
    handlers = [handle(way(EXECUTIONS_CANCELLED), on_check)]
    async with serve_rpc(bus, handlers, queue="q", shard=shard):
        reply = await RpcClient(bus).forward(
            EXECUTIONS_CANCELLED, wanted, shard=shard, seconds=PATIENCE_SECONDS
        )

    assert reply.body == {"cancelled": True}


async def test_a_refusal_is_raised_with_all_that_was_told(bus: Bus, shard: int, way: Way) -> None:
    async def on_get(_request: VarName) -> Refusal:
        return Refusal(409, "too late", {"since": 1})

    wanted = VarName(execution_id=7, var_name="x")
    async with serve_rpc(bus, [handle(way(VARS_GET), on_get)], queue="q", shard=shard):
        with pytest.raises(RpcRefused) as caught:
            await RpcClient(bus).ask(VARS_GET, wanted, shard=shard, seconds=PATIENCE_SECONDS)
        reply = await RpcClient(bus).forward(
            VARS_GET, wanted, shard=shard, seconds=PATIENCE_SECONDS
        )

    error = caught.value
    assert (error.status, error.message, error.detail) == (409, "too late", {"since": 1})
    assert (reply.status, reply.error, reply.detail) == (409, "too late", {"since": 1})


@pytest.mark.parametrize(
    ("failure", "status"),
    [(NotFound(what="it"), 404), (RuntimeError("secret"), 500), (ValueError("secret"), 500)],
)
async def test_an_error_of_a_handler_becomes_an_answer(
    bus: Bus, shard: int, way: Way, failure: Exception, status: int
) -> None:
    async def on_get(_request: VarName) -> Refusal:
        raise failure

    wanted = VarName(execution_id=7, var_name="x")
    async with serve_rpc(bus, [handle(way(VARS_GET), on_get)], queue="q", shard=shard):
        reply = await RpcClient(bus).forward(
            VARS_GET, wanted, shard=shard, seconds=PATIENCE_SECONDS
        )

    assert reply.status == status
    assert "secret" not in str(reply)


@pytest.mark.parametrize(
    ("sent", "status"), [(b'{"execution_id":"x"}', 422), (b"\xff", 400), (b"[]", 400)]
)
async def test_a_wrong_request_never_reaches_the_handler(
    bus: Bus, shard: int, way: Way, sent: bytes, status: int
) -> None:
    async def on_exists(_request: ExecutionName) -> ExecutionExists:
        raise AssertionError

    handlers = [handle(way(EXECUTIONS_EXISTS), on_exists)]
    async with serve_rpc(bus, handlers, queue="q", shard=shard):
        reply = await RpcClient(bus).call(
            EXECUTIONS_EXISTS.subject(shard), sent, seconds=PATIENCE_SECONDS
        )

    assert reply.status == status


async def test_errors_without_details_tell_their_text_alone(bus: Bus, shard: int) -> None:
    """The context of an error may hold a secret that was sent."""

    async def on_exists(_request: ExecutionName) -> ExecutionExists:
        raise NoetlError("no", token="hidden")

    handlers = [handle(EXECUTIONS_EXISTS, on_exists, has_details=False)]
    client = RpcClient(bus)
    async with serve_rpc(bus, handlers, queue="q", shard=shard):
        failed = await client.forward(
            EXECUTIONS_EXISTS, ExecutionName(execution_id=1), shard=shard, seconds=PATIENCE_SECONDS
        )
        wrong = await client.call(
            EXECUTIONS_EXISTS.subject(shard), {"execution_id": "hidden"}, seconds=PATIENCE_SECONDS
        )

    assert (failed.status, failed.error, failed.detail) == (500, "no", None)
    assert (wrong.status, wrong.detail) == (422, None)
    assert wrong.error is not None
    assert wrong.error.startswith("execution_id: Input should be a valid integer")
    assert "hidden" not in wrong.error


async def test_an_answer_of_another_shape_is_no_answer(bus: Bus, shard: int) -> None:
    async def on_exists(_request: ExecutionName) -> Encoded[ExecutionExists]:
        return Encoded(b'{"exists":"perhaps"}')

    handlers = [handle(EXECUTIONS_EXISTS, on_exists)]
    async with serve_rpc(bus, handlers, queue="q", shard=shard):
        with pytest.raises(RpcUnavailable, match="wrong shape"):
            await RpcClient(bus).ask(
                EXECUTIONS_EXISTS,
                ExecutionName(execution_id=1),
                shard=shard,
                seconds=PATIENCE_SECONDS,
            )


async def test_requests_in_hand_are_answered_at_the_end(bus: Bus, shard: int, way: Way) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def on_exists(_request: ExecutionName) -> Refusal:
        begun.set()
        await go_on.wait()
        return Refusal(404, "no")

    handlers = [handle(way(EXECUTIONS_EXISTS), on_exists)]
    async with serve_rpc(bus, handlers, queue="q", shard=shard):
        call = asyncio.ensure_future(
            RpcClient(bus).forward(
                EXECUTIONS_EXISTS,
                ExecutionName(execution_id=1),
                shard=shard,
                seconds=PATIENCE_SECONDS,
            )
        )
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)

    assert (await call).status == 404

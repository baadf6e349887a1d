"""A heartbeat that names runs learns which of them are over."""

from noetl_contract.rpc import RpcReply

from ...conftest import EXECUTION_ID, World

URL = "/api/worker/pool/heartbeat"
HEARD = {"status": "ok", "message": "Heartbeat recorded"}
RUNS = [
    {"execution_id": EXECUTION_ID, "event_id": number, "attempts": number} for number in range(2)
]


async def test_the_runs_that_are_over_come_with_the_answer(world: World) -> None:
    world.backend.answer("runtime.heartbeat", HEARD)
    world.backend.answer("runs.over", {"over": RUNS[1:]})

    answer = await world.post(URL, {"name": "w-1", "commands": RUNS})

    assert answer.json() == {**HEARD, "over": RUNS[1:]}
    assert world.backend.requests("runs.over") == [{"runs": RUNS}]


async def test_a_heartbeat_without_runs_is_answered_as_ever(world: World) -> None:
    world.backend.answer("runtime.heartbeat", HEARD)

    answer = await world.post(URL, {"name": "w-1"})

    assert answer.json() == HEARD
    assert world.backend.requests("runs.over") == []


async def test_a_shard_that_does_not_answer_costs_no_heartbeat(world: World) -> None:
    world.backend.answer("runtime.heartbeat", HEARD)
    world.backend.answer("runs.over", RpcReply(status=422, error="busy"))

    answer = await world.post(URL, {"name": "w-1", "commands": RUNS})

    assert answer.json() == {**HEARD, "over": []}


async def test_more_runs_than_a_worker_has_are_refused(world: World) -> None:
    answer = await world.post(URL, {"name": "w-1", "commands": RUNS * 501})

    assert answer.status_code == 422

"""The edge registers at the catalog (L3)."""

from typing import Any

from noetl_contract.rpc import RpcReply
from noetl_testkit.waiting import eventually

from ..conftest import World, make_world

OK = {"status": "ok"}
GONE = RpcReply(status=404, error="Runtime not found")


def told(world: World, operation: str) -> list[dict[str, Any]]:
    return world.backend.requests(operation)


async def test_edge_registers_beats_and_leaves(nats_url: str) -> None:
    async with make_world(nats_url, edge_heartbeat_seconds=0.05) as world:
        await eventually(lambda: len(told(world, "runtime.heartbeat")) >= 2, what="it beats")
        left_early = told(world, "runtime.deregister")
        backend = world.backend

    # Asked again where the answer takes longer than the pause between beats.
    registration = backend.requests("runtime.register")[0]
    who = {"name": registration["name"], "kind": "server_api"}
    assert registration["kind"] == "server_api"
    assert registration["runtime"].keys() == {"type", "instance"}
    assert "over_edge" not in registration
    assert all(beat == who for beat in backend.requests("runtime.heartbeat"))
    assert (left_early, backend.requests("runtime.deregister")) == ([], [who])


async def test_edge_goes_on_while_nobody_hears_it(nats_url: str) -> None:
    async with make_world(nats_url, edge_heartbeat_seconds=0.05) as world:
        await eventually(lambda: told(world, "runtime.heartbeat"), what="it beats")
        world.backend.answer("runtime.heartbeat", RpcReply(status=503, error="away"))
        before, registered = len(told(world, "runtime.heartbeat")), told(world, "runtime.register")
        await eventually(lambda: len(told(world, "runtime.heartbeat")) >= before + 3)

        assert (await world.get("/health")).status_code == 200
        assert world.shell.service.failure is None
        assert told(world, "runtime.register") == registered


async def test_edge_whose_row_was_marked_as_left_registers_again_as_the_same_process(
    nats_url: str,
) -> None:
    async with make_world(nats_url, edge_heartbeat_seconds=0.05) as world:
        await eventually(lambda: told(world, "runtime.heartbeat"), what="it beats")
        world.backend.answer("runtime.heartbeat", GONE)
        await eventually(lambda: len(told(world, "runtime.register")) >= 2, what="registers again")
        world.backend.answer("runtime.heartbeat", OK)

        first, again = told(world, "runtime.register")[:2]
        assert first == again


async def test_edge_that_was_restarted_keeps_its_name_and_is_another_process(
    nats_url: str,
) -> None:
    seen = []
    for _ in range(2):
        async with make_world(nats_url, edge_heartbeat_seconds=0.05) as world:
            await eventually(lambda: told(world, "runtime.heartbeat"), what="it beats")
            seen.append(told(world, "runtime.register")[0])

    one, two = seen
    assert one["name"] == two["name"]
    assert one["runtime"]["instance"] != two["runtime"]["instance"]

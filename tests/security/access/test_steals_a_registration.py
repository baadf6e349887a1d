"""An attacker registers his own key under the name of a worker, to get its sealed secrets.

Where callers are known, a living registration stays with the caller that has made it.
"""

import orjson
from noetl_common.crypto.sealed import SealingKey
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.json import Json, JsonObject
from noetl_testkit.postgres import Database

from services.catalog.tests.world import CANARY, World, open_world

_NAME = {"name": "w-1", "kind": "worker_pool"}
_OTHER = "Runtime worker_pool w-1 was registered by another caller"


def _who(name: str, *roles: Role) -> JsonObject:
    principal = Principal(name=name, kind="key", roles=roles or (Role.WORKER,), namespaces=("",))
    return {"principal": orjson.loads(principal.model_dump_json())}


async def _register(
    world: World, key: SealingKey, instance: str, **who: Json
) -> tuple[int, str | None]:
    runtime = {"worker_public_key": key.public, "instance": instance}
    reply = await world.ask("runtime.register", **_NAME, runtime=runtime, **who)
    return reply.status, reply.error


async def test_a_living_registration_stays_with_its_caller(
    database: Database, nats_url: str
) -> None:
    own, evil = SealingKey(), SealingKey()
    async with open_world(database, nats_url) as world:
        await world.ok("credential.create", name="bank", type="t", data=CANARY)
        first = await _register(world, own, "a", **_who("pool-a"))
        stolen = await _register(world, evil, "b", **_who("pool-b"))
        left = [
            (await world.ask("runtime.deregister", **_NAME, **_who("pool-b"))).error,
            (await world.ask("runtime.deregister", name="w-9", **_who("pool-b"))).error,
        ]
        envelope = await world.ok("credential.sealed", identifier="bank", worker_id="w-1")
        restarted = await _register(world, SealingKey(), "c", **_who("pool-a"))
        by_system = await _register(world, SealingKey(), "d", **_who("ops", Role.SYSTEM))
        again = await _register(world, own, "e", **_who("pool-a"))

    assert first == (200, None)
    assert stolen == (403, _OTHER)
    assert left == [_OTHER, "Runtime not found: worker_pool w-9"]
    assert orjson.loads(own.open(envelope))["data"] == CANARY
    assert restarted == (200, None)
    # Who is above all workers has taken the name over.
    assert (by_system, again) == ((200, None), (403, _OTHER))


async def test_a_name_is_free_when_its_worker_has_left_or_is_silent(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        await _register(world, SealingKey(), "a", **_who("pool-a"))
        await world.ok("runtime.deregister", **_NAME, **_who("pool-a"))
        after_leaving = await _register(world, SealingKey(), "b", **_who("pool-b"))
        await world.pool.execute("UPDATE noetl.runtime SET heartbeat = now() - interval '1 hour'")
        after_silence = await _register(world, SealingKey(), "c", **_who("pool-a"))

    assert (after_leaving, after_silence) == ((200, None), (200, None))


async def test_without_callers_a_restarted_worker_takes_its_name_at_once(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        assert (await _register(world, SealingKey(), "a"))[0] == 200
        assert (await _register(world, SealingKey(), "b"))[0] == 200


async def test_who_is_nobody_takes_no_name_of_a_caller(database: Database, nats_url: str) -> None:
    """Over the broker a registration names no caller: a pool's login is enough to send one."""
    own = SealingKey()
    async with open_world(database, nats_url) as world:
        await world.ok("credential.create", name="bank", type="t", data=CANARY)
        await _register(world, own, "a", **_who("pool-a"))
        stolen = await _register(world, SealingKey(), "b")
        left = (await world.ask("runtime.deregister", **_NAME)).error
        envelope = await world.ok("credential.sealed", identifier="bank", worker_id="w-1")

    assert stolen == (403, _OTHER)
    assert left == _OTHER
    assert orjson.loads(own.open(envelope))["data"] == CANARY

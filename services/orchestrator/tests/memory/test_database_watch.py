"""An owner whose database does not answer lets its siblings have its executions."""

from noetl_common.pg.database import Database
from noetl_common.pg.pool import open_pool
from noetl_contract.sharding import BUCKETS
from noetl_orchestrator.memory.replicas import run_database_watch
from noetl_testkit.bus import running
from noetl_testkit.hole import hole_to
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.ingress.test_owners import two_replicas
from services.orchestrator.tests.shard import Shard

ALL = frozenset(range(BUCKETS))


async def test_w23_siblings_decide_while_its_database_does_not_answer(shard: Shard) -> None:
    first, second = await two_replicas(shard)
    address = shard.database
    async with hole_to(address.host, address.port) as hole:
        settings = first.settings.model_copy(
            update={"postgres_host": "127.0.0.1", "postgres_port": hole.port}
        )
        async with open_pool(settings, name="watched") as pool:
            owned = first.rooms.replicas.owned_buckets
            assert owned not in {ALL, frozenset()}
            async with running(run_database_watch(first.rooms.replicas, Database(pool))):
                await eventually(pool.get_size, what="it is asked")

                hole.swallows = True
                await eventually(
                    lambda: second.rooms.replicas.owned_buckets == ALL, what="the other has all"
                )
                await eventually(lambda: not first.rooms.door._open, what="it hears no writes")
                ids = [await shard.start() for _ in range(8)]
                where = [
                    [one.rooms.cache.get(i) is not None for one in (first, second)] for i in ids
                ]
                assert where == [[False, True]] * 8, [first.rooms.replicas.owner_of(i) for i in ids]

                hole.swallows = False
                hole.end()  # what is lost on a connection does not come again
                await eventually(
                    lambda: first.rooms.replicas.owned_buckets == owned, what="it has come back"
                )
                await eventually(
                    lambda: second.rooms.replicas.owned_buckets == ALL - owned,
                    what="the other has its own",
                )


async def test_without_siblings_nobody_withdraws(shard: Shard) -> None:
    replica = await shard.open_replica(with_siblings=True)
    async with hole_to(shard.database.host, shard.database.port) as hole:
        settings = replica.settings.model_copy(
            update={"postgres_host": "127.0.0.1", "postgres_port": hole.port}
        )
        async with open_pool(settings, name="watched") as pool:
            hole.refuses = True
            hole.end()
            await eventually(lambda: replica.rooms.replicas.owned_buckets == ALL)
            async with running(run_database_watch(replica.rooms.replicas, Database(pool))):
                assert await shard.start()

    assert replica.rooms.replicas.owned_buckets == ALL

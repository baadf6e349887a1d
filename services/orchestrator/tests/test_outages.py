"""Servers die while inputs are in flight; nothing is lost, nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from noetl_bus.errors import BusUnavailable
from noetl_bus.topology import ensure_topology
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_testkit.nats import NatsServer
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.shard import Shard, opened_shard


async def persistently(shard: Shard, execution_id: int, message: dict[str, object]) -> object:
    """Send as edge and worker do: again until there is an answer (W6)."""
    while True:
        try:
            answer = await shard.send(execution_id, message, seconds=2.0)
        except (BusUnavailable, TimeoutError):
            continue
        if answer.get("status") != 503:
            return answer


async def run_to_the_end(shard: Shard, execution_id: int, answered: list[int]) -> None:
    while True:
        try:
            commands = await shard.open_commands(execution_id)
        except (
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ):
            await asyncio.sleep(0.05)  # the database is away
            continue
        if not commands:
            return
        for command in commands:
            await persistently(shard, execution_id, shard.fast(command))
            answered.append(execution_id)


async def check(shard: Shard, executions: list[int]) -> None:
    for execution_id in executions:
        types = await shard.types(execution_id)
        ends = [word for word in types if word.startswith("playbook.")]
        assert ends == ["playbook.completed"]
        for once in ("command.issued", "command.claimed", "call.done", "command.completed"):
            assert types.count(once) == 2
    # Outside readers get the ends; other commits may be announced or not.
    lost = await shard.pool.fetchval(
        "SELECT count(*) FROM noetl.event e LEFT JOIN noetl.outbox o ON o.kind = 'commit'"
        " AND o.execution_id = e.execution_id AND e.position"
        " BETWEEN (o.payload ->> 'first')::bigint AND (o.payload ->> 'last')::bigint"
        " WHERE e.event_type = 'playbook.completed' AND o.outbox_id IS NULL"
    )
    assert lost == 0


@pytest.fixture
async def on_own_postgres(
    nats_url: str, own_postgres: OwnPostgresServer
) -> AsyncIterator[tuple[Shard, OwnPostgresServer]]:
    with (
        own_postgres.migrated_template() as template,
        own_postgres.fresh(template=template) as database,
    ):
        async with opened_shard(nats_url, database) as shard:
            yield shard, own_postgres


async def test_the_database_is_killed_under_load(
    on_own_postgres: tuple[Shard, OwnPostgresServer],
) -> None:
    """An outage is not an attempt: batches are held, and every message gets its answer."""
    shard, server = on_own_postgres
    for _ in range(2):
        await shard.open_replica()
    executions = [await shard.start() for _ in range(20)]

    answered: list[int] = []

    async def kill() -> None:
        for count in (8, 24):
            await eventually(lambda n=count: len(answered) >= n, every_seconds=0.001)
            await asyncio.to_thread(server.restart)

    await asyncio.gather(kill(), *(run_to_the_end(shard, one, answered) for one in executions))

    await check(shard, executions)
    await eventually(shard.ingress_is_empty)
    assert await shard.dead_letters() == []


@pytest.fixture
async def on_own_nats(
    own_nats: NatsServer, database: Database
) -> AsyncIterator[tuple[Shard, NatsServer]]:
    async with opened_shard(own_nats.url, database) as shard:
        yield shard, own_nats


@pytest.mark.slow
@pytest.mark.parametrize("store_is_lost", [False, True])
async def test_the_broker_is_killed_under_load(
    on_own_nats: tuple[Shard, NatsServer], *, store_is_lost: bool
) -> None:
    shard, server = on_own_nats
    for _ in range(2):
        await shard.open_replica()
    executions = [await shard.start() for _ in range(20)]

    answered: list[int] = []

    async def kill() -> None:
        for count in (8, 24):
            await eventually(lambda n=count: len(answered) >= n, every_seconds=0.001)
            await asyncio.to_thread(server.wipe if store_is_lost else server.restart)
            await shard.bus.wait_connected()
            await ensure_topology(shard.bus, STREAMS, [ingress_durable(0)])

    await asyncio.gather(kill(), *(run_to_the_end(shard, one, answered) for one in executions))

    await check(shard, executions)
    await eventually(shard.ingress_is_empty)

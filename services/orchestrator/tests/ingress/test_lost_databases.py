"""W34: a replica that alone has lost the database keeps nothing of its siblings' shard."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from noetl_contract.sharding import BUCKETS
from noetl_testkit.lines import Line, line_to
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Replica, Shard

_STARTS = 16


@pytest.fixture
async def lines(database: Database) -> AsyncIterator[tuple[Line, Line]]:
    """Lines to the database, there before the replicas and after them."""
    port = database.address.port
    async with line_to(port) as first, line_to(port) as second:
        yield first, second


@pytest.fixture
async def replicas(lines: tuple[Line, Line], shard: Shard) -> tuple[Replica, Replica]:
    """Two replicas that both own executions, each with a line of its own."""
    opened = [
        await shard.open_replica(
            with_siblings=True,
            replicas_active_min=2,
            postgres_port=line.port,
            postgres_connect_timeout_seconds=2.0,
        )
        for line in lines
    ]
    await eventually(lambda: all(0 < owned(replica) < BUCKETS for replica in opened))
    first, second = opened
    return first, second


def owned(replica: Replica) -> int:
    return len(replica.rooms.replicas.owned_buckets)


def lose(line: Line) -> None:
    """Let nothing pass, over no connection."""
    line.cut()
    line.is_open = False


def be_patient(replicas: tuple[Replica, Replica]) -> None:
    """Have an answer of the database count however busy the machine is."""
    for replica in replicas:
        replica.reach.answer_seconds = PATIENCE_SECONDS


def owned_by(replica: Replica, execution_id: int) -> bool:
    return replica.rooms.replicas.owner_of(execution_id) is None


def begin(shard: Shard) -> list[asyncio.Task[int]]:
    """Begin to start executions; some of them are the first replica's."""
    return [asyncio.create_task(shard.start()) for _ in range(_STARTS)]


@pytest.mark.slow
async def test_w34_who_alone_has_lost_the_database_leaves_all_to_the_other_and_comes_back(
    lines: tuple[Line, Line], shard: Shard, replicas: tuple[Replica, Replica]
) -> None:
    """Also what it had taken already. Each of them is decided once."""
    (line, _), (first, second) = lines, replicas
    ids = [await shard.start() for _ in range(_STARTS)]
    assert any(owned_by(first, one) for one in ids)

    lose(line)
    begun = begin(shard)
    await eventually(lambda: owned(second) == BUCKETS, what="the other owns all")
    assert owned(first) == 0
    for execution_id in ids:
        command = await shard.command(execution_id)
        assert await shard.send(execution_id, shard.fast(command)) == {"status": "ok"}
    started = await asyncio.gather(*begun)

    line.is_open = True
    await eventually(lambda: owned(first) > 0, what="it has come back")
    for execution_id in [*ids, *started, await shard.start()]:
        types = await shard.types(execution_id)
        assert types.count("playbook_started") == 1
        assert types.count("command.completed") <= 1


@pytest.mark.slow
async def test_w34_where_nobody_reaches_the_database_everything_stays_as_it_is(
    lines: tuple[Line, Line], shard: Shard, replicas: tuple[Replica, Replica]
) -> None:
    before = [owned(replica) for replica in replicas]
    for line in lines:
        lose(line)
    begun = begin(shard)
    await eventually(lambda: all(replica.reach.away_seconds > 4 for replica in replicas))

    assert [owned(replica) for replica in replicas] == before
    be_patient(replicas)
    for line in lines:
        line.is_open = True
    for execution_id in await asyncio.gather(*begun):
        assert (await shard.types(execution_id)).count("playbook_started") == 1
    await eventually(lambda: all(replica.reach.back_seconds > 3 for replica in replicas))
    assert [owned(replica) for replica in replicas] == before


@pytest.mark.slow
async def test_w34_who_has_withdrawn_and_is_alone_then_does_what_it_can(
    lines: tuple[Line, Line], shard: Shard, replicas: tuple[Replica, Replica]
) -> None:
    (line, _), (first, second) = lines, replicas
    lose(line)
    begun = begin(shard)
    await eventually(lambda: owned(first) == 0)
    await asyncio.gather(*begun)

    second.rooms.replicas._has_left = True  # as when it is told to stop
    await eventually(lambda: owned(first) == BUCKETS)


@pytest.mark.slow
async def test_w34_a_statement_that_takes_long_is_no_reason(
    lines: tuple[Line, Line], shard: Shard, replicas: tuple[Replica, Replica]
) -> None:
    """The database answers new connections."""
    (line, _), (first, _) = lines, replicas
    be_patient(replicas)
    before = [owned(replica) for replica in replicas]
    made = line.made
    async with shard.pool.acquire() as holder:
        await holder.execute("SELECT pg_advisory_lock(7)")
        waiting = asyncio.create_task(
            first.rooms.store._turns.fetch_text("SELECT 1 FROM pg_advisory_lock($1)", 7)
        )
        await eventually(lambda: line.made >= made + 4)  # it was asked thrice at least
        assert [owned(replica) for replica in replicas] == before
        await holder.execute("SELECT pg_advisory_unlock(7)")
        await waiting

    assert first.reach.away_seconds == 0

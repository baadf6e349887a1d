"""L3: the database's clock leaps, as that of a machine does that was suspended."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from noetl_contract.rpc.models import Nothing

from services.orchestrator.tests.leases.workers import hear, renotified, sweep
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard

type Leap = Callable[[float], Awaitable[None]]

# Found before the server's own functions by sessions that look here first.
_FUNCTIONS = """
CREATE SCHEMA leap;
CREATE TABLE leap.leap (by INTERVAL NOT NULL);
INSERT INTO leap.leap VALUES ('0');
CREATE FUNCTION leap.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE
AS 'SELECT pg_catalog.clock_timestamp() + by FROM leap.leap';
CREATE FUNCTION leap.now() RETURNS TIMESTAMPTZ LANGUAGE sql STABLE
AS 'SELECT pg_catalog.now() + by FROM leap.leap';
"""


@pytest.fixture
async def leap(shard: Shard) -> AsyncIterator[Leap]:
    """Set the time that sessions of this database read so many seconds off the true one."""
    database = shard.database
    database.run(
        f'{_FUNCTIONS} ALTER DATABASE "{database.name}" SET search_path = leap, pg_catalog, public'
    )
    await shard.pool.expire_connections()

    async def by(seconds: float) -> None:
        await shard.pool.execute("UPDATE leap.leap SET by = make_interval(secs => $1)", seconds)

    yield by
    database.run(f'ALTER DATABASE "{database.name}" RESET search_path; DROP SCHEMA leap CASCADE')


@pytest.fixture
async def replica(shard: Shard, leap: Leap) -> Replica:
    """A replica whose sessions read that time."""
    del leap
    return await shard.open_replica()


@pytest.mark.parametrize("seconds", [100.0, 1_000.0])
async def test_l3_a_leap_makes_no_worker_silent(
    shard: Shard, replica: Replica, held: Command, leap: Leap, seconds: float
) -> None:
    """Neither before the catalog has answered anew, nor by heartbeats from before the leap."""
    await hear(shard, replica, heartbeat_age=1)

    await leap(seconds)
    await replica.rooms.agenda.ask()
    await sweep(replica)
    claim = await shard.claim(held, worker="w2", instance="i2")
    await hear(shard, replica, heartbeat_age=seconds + 1, heard_for=0)
    await sweep(replica)

    assert await renotified(shard, held) == []
    assert claim["detail"]["code"] == "active_claim"


async def test_l3_a_leap_back_makes_none_silent_and_delays_no_judgement(
    shard: Shard, replica: Replica, held: Command, leap: Leap
) -> None:
    """Heartbeats of the time that is gone don't count."""
    await leap(100.0)
    await replica.rooms.agenda.ask()
    await hear(shard, replica, heartbeat_age=0, heard_for=0)

    await leap(0.0)
    await replica.rooms.agenda.ask()
    await hear(shard, replica, heartbeat_age=1, heard_for=0)
    await sweep(replica)
    assert await renotified(shard, held) == []

    replica.rooms.liveness.not_heard()
    await hear(shard, replica, heartbeat_age=61, heard_for=61)
    await sweep(replica)
    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]


async def test_l3_an_answer_that_was_asked_for_before_the_leap_does_not_count(
    shard: Shard, replica: Replica, leap: Leap
) -> None:
    liveness = replica.rooms.liveness
    await hear(shard, replica, heartbeat_age=1)

    class Catalog:
        async def ask(self, *_question: object, **_options: object) -> Nothing:
            await leap(100.0)
            await replica.rooms.agenda.ask()
            return Nothing()

    await liveness.ask(Catalog())

    assert liveness.workers is None

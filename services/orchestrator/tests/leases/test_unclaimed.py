"""O3: commands that are not claimed are sent again."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import orjson
import pytest
from noetl_bus.topology import ensure_durable
from noetl_contract.http.workers.pauses import PauseTarget
from noetl_contract.streams import pool_durable
from noetl_testkit.nats import NatsServer
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.orchestrator.tests.leases.workers import age_hold, hear, renotified, sweep
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard, opened_shard


async def make_unclaimed(shard: Shard, *, minutes: float = 2.0) -> None:
    await shard.pool.execute(
        "UPDATE noetl.command SET created_at = created_at - $1::interval,"
        " notified_at = notified_at - $1::interval",
        timedelta(minutes=minutes),
    )


async def publish_rows(shard: Shard, *, sequence: int) -> None:
    """Mark notifications as published, as the relay would."""
    info = orjson.loads(
        (
            await shard.bus.request("$JS.API.STREAM.INFO.NOETL_COMMANDS", seconds=PATIENCE_SECONDS)
        ).data
    )
    await shard.pool.execute(
        "UPDATE noetl.outbox SET status = 'PUBLISHED', published_at = now(),"
        " stream_created_at = $1, stream_sequence = $2 WHERE kind = 'command'",
        datetime.fromisoformat(info["created"][:26] + "+00:00"),
        sequence,
    )


@pytest.fixture
async def lonely(own_nats: NatsServer, database: Database) -> AsyncIterator[Shard]:
    """A shard whose broker can be halted."""
    async with opened_shard(own_nats.url, database) as opened:
        yield opened


@contextmanager
def halted(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the broker keep its connections and answer nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patched:
            patched.setattr("noetl_orchestrator.leases.broker._API_SECONDS", 0.1)
            yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_o3_an_unclaimed_command_is_sent_again_with_a_growing_pause(
    shard: Shard, replica: Replica
) -> None:
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await replica.rooms.sweeper.sweep_unclaimed()
    assert await renotified(shard, command) == []

    await make_unclaimed(shard)
    await replica.rooms.sweeper.sweep_unclaimed()
    first = await renotified(shard, command)
    await publish_rows(shard, sequence=2)
    await make_unclaimed(shard, minutes=1.5)
    await replica.rooms.sweeper.sweep_unclaimed()
    too_early = await renotified(shard, command)
    await make_unclaimed(shard, minutes=1.5)
    await replica.rooms.sweeper.sweep_unclaimed()
    second = await renotified(shard, command)

    assert first == [f"c:{command.event_id}:0:n2"]
    assert too_early == []
    assert second == [f"c:{command.event_id}:0:n3"]


async def test_o3_the_pause_grows_up_to_a_limit(shard: Shard, replica: Replica) -> None:
    """Sent again ten times: the next time comes after a quarter of an hour, not half a day."""
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await shard.pool.execute("UPDATE noetl.command SET notifications = 10")

    await make_unclaimed(shard, minutes=14)
    await replica.rooms.sweeper.sweep_unclaimed()
    too_early = await renotified(shard, command)
    await make_unclaimed(shard, minutes=2)
    await replica.rooms.sweeper.sweep_unclaimed()

    assert too_early == []
    assert await renotified(shard, command) == [f"c:{command.event_id}:0:n11"]


async def test_o3_what_merely_waits_in_the_stream_is_not_multiplied(
    shard: Shard, replica: Replica
) -> None:
    await ensure_durable(shard.bus, pool_durable("shared"))
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)

    await replica.rooms.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == []


async def test_o3_what_waited_in_a_stream_that_is_gone_is_sent_again(
    shard: Shard, replica: Replica
) -> None:
    await ensure_durable(shard.bus, pool_durable("shared"))
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await shard.pool.execute(
        "UPDATE noetl.outbox SET stream_created_at = stream_created_at - interval '1 day'"
    )
    await make_unclaimed(shard)

    await replica.rooms.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == [f"c:{command.event_id}:0:n2"]


async def test_o3_nothing_is_multiplied_while_the_broker_tells_nothing(
    lonely: Shard, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = lonely
    replica = await shard.open_replica()
    await ensure_durable(shard.bus, pool_durable("shared"))
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)

    with halted(own_nats, monkeypatch):
        await replica.rooms.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == []
    await shard.bus.js.delete_consumer(pool_durable("shared").stream, pool_durable("shared").name)
    await make_unclaimed(shard, minutes=4)
    await replica.rooms.sweeper.sweep_unclaimed()
    assert len(await renotified(shard, command)) == 1, "the pool is gone: the broker says so"


async def test_what_a_pause_withheld_is_asked_for_again_when_the_broker_told_nothing(
    lonely: Shard, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was never published is published at once, others when known to be lost."""
    shard = lonely
    replica = await shard.open_replica()
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    replica.rooms.pauses.update([PauseTarget(kind="pool", name="shared")])
    withheld = await shard.command(await shard.start())
    replica.rooms.pauses.update([])
    await make_unclaimed(shard)

    with halted(own_nats, monkeypatch):
        await replica.rooms.sweeper.hand_out()
        sent = [await renotified(shard, one) for one in (command, withheld)]
    await make_unclaimed(shard)
    await replica.rooms.sweeper.hand_out()

    assert [len(ids) for ids in sent] == [0, 1]
    assert len(await renotified(shard, command)) == 1


async def test_o3_what_the_relay_still_has_is_left_to_it(shard: Shard, replica: Replica) -> None:
    command = await shard.command(await shard.start())
    await make_unclaimed(shard)

    await replica.rooms.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == []


async def test_o3_a_claimed_command_is_not_sent_again(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)

    await replica.rooms.sweeper.sweep_unclaimed()

    assert await renotified(shard, held) == []


async def test_f27_what_cannot_be_helped_does_not_keep_others_from_their_turn(
    shard: Shard,
) -> None:
    """Each look takes one command, so an oldest one without answer must not come up each time."""
    replica = await shard.open_replica(lease_sweep_limit=1)
    commands = [await shard.command(await shard.start()) for _ in range(3)]
    for command in commands[:2]:
        await shard.send(command.execution_id, shard.fast(command, "command.start"))
        await age_hold(shard, command, replica, 120)
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)
    await hear(shard, replica, heartbeat_age=120)

    await sweep(replica)
    first = [await renotified(shard, command) for command in commands]
    for _ in range(2):
        await sweep(replica)
        await replica.rooms.sweeper.sweep_unclaimed()

    assert sorted(map(len, first)) == [0, 0, 1]
    assert [len(await renotified(shard, command)) for command in commands] == [1, 1, 1]

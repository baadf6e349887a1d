"""The relay when its servers die, and when the broker's store is lost (O5)."""

import pytest
from noetl_bus.broker import connect
from noetl_bus.inbox import Incoming
from noetl_contract.streams import COMMANDS, EVENTS, INGRESS
from noetl_contract.subjects import ingress_subject, published_subject
from noetl_outbox.relay import Relay
from noetl_outbox.store import Store
from noetl_pg.database import Database as OpenDatabase
from noetl_pg.identity import WrongDatabase
from noetl_pg.pool import open_pool
from noetl_testkit.bus import running
from noetl_testkit.nats import NatsServer
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import eventually

from services.outbox.tests.rows import Rows, make_settings, opened_rows, relaying

_TOO_MANY = 5000
QUICK = {"outbox_grace_seconds": 0.05, "outbox_poll_seconds": 0.1}


@pytest.mark.slow
async def test_wiped_store_gets_pending_commands_recent_events_and_messages_again(
    database: Database, own_nats: NatsServer
) -> None:
    async with (
        opened_rows(database, own_nats.url) as rows,
        relaying(database, own_nats.url, **QUICK),
    ):
        pending, done, event = rows.command(1), rows.command(2), rows.event(3)
        subject = ingress_subject(0, execution_id=4, kind="cancel")
        message = rows.event(4, kind="message", subject=subject, message_id="m:4:1", payload={})
        await rows.commit(pending, event, message)
        await rows.commit(done, pending=False)
        await eventually(rows.all_published)
        own_nats.wipe()
        await eventually(lambda: _holds(rows, COMMANDS.name, 1))
        await eventually(lambda: _holds(rows, EVENTS.name, 1))
        await eventually(lambda: _holds(rows, INGRESS.name, 1))
        await eventually(rows.all_published)
        commands = await rows.stored(COMMANDS.name)
        messages = await rows.stored(INGRESS.name)

    assert [message_id for _, message_id, _ in commands] == ["c:1:0"]
    assert messages == [(subject, "m:4:1", {})]


async def test_command_that_its_stream_no_longer_holds_goes_out_under_another_id(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """The stream is the same, so it may remember the old one."""
    async with relaying(
        database,
        nats_url,
        **QUICK,
        outbox_recovery_interval_seconds=0.1,
        outbox_expiry_interval_seconds=0.1,
    ):
        await rows.commit(rows.command(1))
        await eventually(rows.all_published)
        await rows.bus.js.purge_stream(COMMANDS.name)
        await eventually(lambda: _holds(rows, COMMANDS.name, 1))
        await eventually(rows.all_published)
        commands = await rows.stored(COMMANDS.name)

    assert [message_id for _, message_id, _ in commands] == ["c:1:0:r2"]


async def test_broker_that_comes_back_gets_what_was_committed_meanwhile(
    database: Database, own_nats: NatsServer
) -> None:
    async with (
        opened_rows(database, own_nats.url) as rows,
        relaying(database, own_nats.url, **QUICK),
    ):
        await rows.commit(rows.event(1))
        await eventually(rows.all_published)
        own_nats.kill()
        await rows.commit(*(rows.event(number) for number in range(2, 100)))
        own_nats.start()
        await eventually(rows.all_published)
        count = await rows.count(EVENTS.name)

    assert count == 99


async def test_database_that_comes_back_is_swept(
    own_postgres: OwnPostgresServer, nats_url: str
) -> None:
    with (
        own_postgres.migrated_template() as template,
        own_postgres.fresh(template=template) as database,
    ):
        # The crash may undo the mark of a row, which is published again after its lease then.
        async with relaying(database, nats_url, **QUICK, outbox_lease_seconds=2.0):
            async with opened_rows(database, nats_url) as rows:
                await rows.commit(rows.event(1))
                await eventually(rows.all_published)
            own_postgres.restart()
            async with opened_rows(database, nats_url) as rows:
                rows.last_id = 1
                await rows.commit(*(rows.event(number) for number in range(2, 100)))
                await eventually(rows.all_published)
                count = await rows.count(EVENTS.name)

    assert count == 99


async def test_s4_a_relay_with_another_shard_map_refuses_the_database(
    database: Database, nats_url: str
) -> None:
    database.run(
        "INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count)"
        " VALUES ('noetl', 0, 2)"
    )
    with pytest.raises(WrongDatabase, match="shard 0 of 2"):
        async with relaying(database, nats_url):
            pass


async def test_a_sweep_that_is_due_while_the_broker_is_away_blocks_no_other_task(
    database: Database, own_nats: NatsServer
) -> None:
    """An acknowledgement made the sweep due; the loop then has to await before it goes on."""
    settings = make_settings(database, nats_url=own_nats.url, **QUICK)
    seen: list[bool] = []

    def on_progress() -> None:
        seen.append(bus.is_connected)
        if len(seen) > _TOO_MANY:
            raise RuntimeError("the loop goes round and lets no other run")

    async with connect(settings, name="test") as bus, open_pool(settings, name="test") as pool:
        relay = Relay(
            bus, Store(OpenDatabase(pool), settings), creation_times={}, settings=settings
        )
        own_nats.kill()
        await eventually(lambda: not bus.is_connected)
        row = published_subject(0, outbox_id=1, message_id="c:1:0")
        relay.on_ack(Incoming(row, b'{"stream":"noetl_commits","seq":1}', {}))
        async with running(relay.run_sweep(on_progress)):
            # The sweep is due after two of these pauses.
            await eventually(lambda: len(seen) > 6)
            assert len(seen) <= _TOO_MANY
            assert not any(seen)
            own_nats.start()
            await eventually(lambda: seen[-1])


async def _holds(rows: Rows, stream: str, wanted: int) -> bool:
    try:
        return bool(await rows.count(stream) == wanted)
    except Exception:  # noqa: BLE001 -- the broker is on its way back
        return False

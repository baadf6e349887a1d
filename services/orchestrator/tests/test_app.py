"""The whole process, in this one: start, readiness, one happy path, shutdown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import orjson
import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import handle, serve_rpc
from noetl_bus.writes.exchange import Exchange, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_common.clock import unix_ms
from noetl_contract.http.workers.commands import ClaimAnswer
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.json import Json
from noetl_contract.rpc import decode_reply
from noetl_contract.rpc.catalog import (
    CONTENT,
    MACHINE_LEASE,
    MACHINE_RENEW,
    RUNTIME_LIVENESS,
    ContentRequest,
    EdgeSeen,
    EntryContent,
    Liveness,
    MachineLease,
    MachineLeaseRequest,
)
from noetl_contract.rpc.models import Nothing
from noetl_contract.streams import INGRESS, ingress_durable
from noetl_contract.subjects import ingress_subject
from noetl_orchestrator.app import create_app
from noetl_pg.identity import WrongDatabase
from noetl_pg.pool import open_pool
from noetl_service.service import ServiceApp, supervise
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.leases.workers import LONG_AGO
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import settings_for

EXECUTION_ID = 383_000_000_000_000_000


async def ask(bus: Bus, **fields: Json) -> ClaimAnswer:
    """Claim a command of the replica that owns it, once there is one."""
    body, seconds = orjson.dumps(fields), PATIENCE_SECONDS
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        with Write(bus.inbox(), shard=0, execution_id=EXECUTION_ID, kind="claim", body=body) as one:
            wait = WriteTimeout(seconds)
            sending = Exchange(Sender(bus), one, wait, deadline=deadline, check_seconds=1)
            answer = await sending.answer()
        reply = decode_reply(answer)
        if reply.status == 200:
            return ClaimAnswer.model_validate(reply.body)


@dataclass
class DatabaseTime:
    """The clock of the cluster's database, as the catalog answers it."""

    ahead_ms: int = 0
    lease_seconds: float = 30.0


@asynccontextmanager
async def catalog(bus: Bus, time: DatabaseTime | None = None) -> AsyncIterator[None]:
    """Play the catalog service."""
    known = time or DatabaseTime()

    async def lease(_request: MachineLeaseRequest) -> MachineLease:
        now = unix_ms()
        return MachineLease(
            machine_id=7,
            lease_seconds=known.lease_seconds,
            high_water_ms=now,
            now_ms=now + known.ahead_ms,
        )

    async def content(request: ContentRequest) -> EntryContent:
        return EntryContent(
            catalog_id=request.catalog_id, path="p", version=1, kind="playbook", content=LINEAR
        )

    async def liveness(_request: Nothing) -> Liveness:
        edge = EdgeSeen(heartbeat_at=LONG_AGO, process_since=LONG_AGO)
        return Liveness(now=LONG_AGO, edges={"edge": edge}, workers={}, pauses=[])

    handlers = [
        handle(MACHINE_LEASE, lease),
        handle(MACHINE_RENEW, lease),
        handle(CONTENT, content),
        handle(RUNTIME_LIVENESS, liveness),
    ]
    async with serve_rpc(bus, handlers, queue="catalog"):
        yield


@asynccontextmanager
async def running(app: ServiceApp) -> AsyncIterator[None]:
    """Run an app's service as its server would, without the HTTP port."""
    async with supervise(app.service, app._run):
        yield


async def is_ready(app: ServiceApp) -> bool:
    return set((await app.service.readiness()).values()) == {"ok"}


async def test_a_process_starts_works_and_stops(nats_url: str, database: Database) -> None:
    settings = settings_for(nats_url, database)
    app = create_app(settings)
    async with connect(settings, name="test") as bus, catalog(bus), running(app):
        await eventually(lambda: is_ready(app))
        with bus.inbox().expect() as waiter:
            await start(bus, headers={REPLY_HEADER: waiter.subject})
            answer = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
        event_id = int(database.run("SELECT event_id FROM noetl.command"))
        claim = await ask(bus, execution_id=EXECUTION_ID, event_id=event_id, worker_id="w1")

    assert answer["body"]["status"] == "started"
    assert claim.node_id == "start"
    assert app.service.failure is None
    assert database.run("SELECT shard_index, shard_count FROM noetl.shard_identity") == "0|1"


async def test_the_loops_of_a_process_work_without_a_request(
    nats_url: str, database: Database
) -> None:
    """F3: leases above all; and timers, old request keys, partitions ahead."""
    settings = settings_for(
        nats_url,
        database,
        command_worker_heartbeat_stale_seconds=1,
        command_claim_lease_seconds=1,
        partitions_ahead_days=3650,
    )
    database.run(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
        " VALUES (1, 1, now(), 'continue', '{}');"
        "INSERT INTO noetl.request_key (scope, key, execution_id, seen_at)"
        " VALUES ('s', 'k', 1, now() - interval '1 year')"
    )
    async with (
        connect(settings, name="test") as bus,
        catalog(bus),
        open_pool(settings, name="test") as pool,
        running(create_app(settings)),
    ):
        await start(bus)

        async def command() -> asyncpg.Record | None:
            return await pool.fetchrow("SELECT execution_id, event_id FROM noetl.command")

        await eventually(command)
        found = await command()
        assert found is not None
        claim = await ask(bus, **found, worker_id="silent")

        async def are_done() -> bool:
            return bool(
                await pool.fetchval(
                    "SELECT NOT EXISTS (SELECT FROM noetl.timer)"
                    " AND NOT EXISTS (SELECT FROM noetl.request_key)"
                    " AND to_regclass('noetl.event_2034_h1') IS NOT NULL"
                    " AND EXISTS (SELECT FROM noetl.outbox WHERE message_id LIKE $1)",
                    f"c:{found['event_id']}:1%",
                )
            )

        await eventually(are_done)

    assert claim.event_id == found["event_id"]


async def test_f5_a_process_whose_durable_vanished_goes_on(
    nats_url: str, database: Database
) -> None:
    settings = settings_for(nats_url, database)
    app = create_app(settings)
    async with connect(settings, name="test") as bus, catalog(bus), running(app):
        await eventually(lambda: is_ready(app))
        await bus.js.delete_consumer(INGRESS.name, ingress_durable(0).name)
        with bus.inbox().expect() as waiter:
            await start(bus, headers={REPLY_HEADER: waiter.subject})
            answer = orjson.loads(await waiter.wait(PATIENCE_SECONDS))

    assert answer["body"]["status"] == "started"
    assert app.service.failure is None


async def start(bus: Bus, **options: Json) -> None:
    """Put a start on the ingress."""
    message = {
        "type": "execute",
        "execution_id": EXECUTION_ID,
        "catalog_id": 5,
        "path": "p",
        "version": 1,
    }
    await bus.publish(
        ingress_subject(0, execution_id=EXECUTION_ID, kind="execute"),
        orjson.dumps(message),
        message_id="1",
        **options,
    )


async def test_s1_a_process_whose_clock_is_off_is_not_ready_and_begins_nothing(
    nats_url: str, database: Database
) -> None:
    settings = settings_for(nats_url, database)
    app = create_app(settings)
    time = DatabaseTime(lease_seconds=1.0)
    async with connect(settings, name="test") as bus, catalog(bus, time), running(app):
        await eventually(lambda: is_ready(app))
        time.ahead_ms = 3_600_000

        async def is_off() -> bool:
            return (await app.service.readiness())["ids"] == "not ready"

        await eventually(is_off)
        with bus.inbox().expect() as waiter:
            await start(bus, headers={REPLY_HEADER: waiter.subject})
            # Taken, and held: without ids there is no decision.
            await eventually(lambda: _unanswered(bus))
            written = database.run("SELECT count(*) FROM noetl.event")
            time.ahead_ms = 0
            answer = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
        await eventually(lambda: is_ready(app))

    assert written == "0"
    assert answer["body"]["status"] == "started"


async def _unanswered(bus: Bus) -> bool:
    info = await bus.js.consumer_info(INGRESS.name, ingress_durable(0).name)
    return info.num_ack_pending == 1


async def test_s4_a_process_with_another_shard_map_refuses_to_start(
    nats_url: str, database: Database
) -> None:
    database.run(
        "INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count)"
        " VALUES ('noetl', 0, 2)"
    )
    settings = settings_for(nats_url, database)
    async with connect(settings, name="test") as bus, catalog(bus):
        with pytest.raises(WrongDatabase, match="shard 0 of 2"):
            async with running(create_app(settings)):
                pass


async def test_work_in_flight_is_answered_before_the_process_ends(
    nats_url: str, database: Database
) -> None:
    """The row is locked while the process is stopped: it waits for its commit."""
    settings = settings_for(nats_url, database)
    app = create_app(settings)
    async with (
        connect(settings, name="test") as bus,
        catalog(bus),
        open_pool(settings, name="test") as pool,
    ):
        async with running(app):
            await eventually(lambda: is_ready(app))
            await start(bus)

            async def has_begun() -> bool:
                return bool(await pool.fetchval("SELECT count(*) FROM noetl.command"))

            await eventually(has_begun)
            connection = await pool.acquire()
            lock = connection.transaction()
            await lock.start()
            await connection.execute("SELECT FROM noetl.execution_state FOR UPDATE")
            cancel = {"type": "cancel", "execution_id": EXECUTION_ID}
            subject = ingress_subject(0, execution_id=EXECUTION_ID, kind="cancel")
            await bus.publish(subject, orjson.dumps(cancel), message_id="2")
            intake = next(t for t in app.service._loops if t.get_name() == "intake")
            await eventually(lambda: _unanswered(bus))
            asyncio.get_running_loop().call_later(
                0.5, lambda: asyncio.ensure_future(lock.rollback())
            )
        assert intake.done()
        await pool.release(connection)

        info = await bus.js.stream_info(INGRESS.name)
        status = await pool.fetchval("SELECT status FROM noetl.execution_state")

    assert (status, info.state.messages) == ("CANCELLED", 0)

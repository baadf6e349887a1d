"""Workers of a lease test, and the sweep."""

from datetime import datetime, timedelta

from noetl_contract.rpc.catalog import EdgeSeen, Liveness, WorkerSeen

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard

LONG_AGO = "2026-01-01T00:00:00Z"


async def hear(
    shard: Shard,
    replica: Replica,
    *,
    heartbeat_age: float = 0.0,
    process_age: float = 3600.0,
    worker: str = "w1",
    instance: str | None = "i1",
    deregistered: bool = False,
    heard_for: float = 3600.0,
) -> None:
    """Give the replica the catalog's answer about a worker."""
    now: datetime = await shard.pool.fetchval("SELECT clock_timestamp()")
    seen = WorkerSeen(
        heartbeat_at=(now - timedelta(seconds=heartbeat_age)).isoformat(),
        process_since=(now - timedelta(seconds=process_age)).isoformat(),
        instance=instance,
        deregistered_at=now.isoformat() if deregistered else None,
        left_at=None,
        over_edge=False,
    )
    liveness = replica.rooms.liveness
    if liveness.workers is None:
        liveness.heard(_answer(now - timedelta(seconds=heard_for)))
    liveness.heard(_answer(now, **{worker: seen}))


def _answer(now: datetime, **workers: WorkerSeen) -> Liveness:
    """Return the catalog's answer while an edge is there."""
    edge = EdgeSeen(heartbeat_at=now.isoformat(), process_since=LONG_AGO)
    return Liveness(now=now.isoformat(), edges={"edge": edge}, workers=workers, pauses=[])


async def age_hold(shard: Shard, command: Command, replica: Replica, seconds: float) -> None:
    """Let the present hold have begun earlier, in the log and in the row."""
    replica.rooms.cache.forget(command.execution_id)
    back = timedelta(seconds=seconds)
    await shard.pool.execute(
        "UPDATE noetl.event SET created_at = created_at - $2::interval,"
        " note = CASE WHEN note ? 'at' THEN jsonb_set(note, '{at}',"
        " to_jsonb((note ->> 'at')::bigint - $3::bigint)) ELSE note END"
        " WHERE execution_id = $1 AND event_type IN ('command.claimed', 'command.started')",
        command.execution_id,
        back,
        int(seconds * 1_000_000),
    )
    await shard.pool.execute(
        "UPDATE noetl.command SET claimed_at = claimed_at - $2::interval,"
        " started_at = started_at - $2::interval, updated_at = updated_at - $2::interval,"
        " lease_until = lease_until - $2::interval WHERE execution_id = $1",
        command.execution_id,
        back,
    )


async def sweep(replica: Replica) -> None:
    """Sweep once; workers could be judged."""
    assert await replica.rooms.sweeper.sweep()


async def renotified(shard: Shard, command: Command) -> list[str]:
    """Return the message id of the notification if it waits to be published again."""
    rows = await shard.pool.fetch(
        "SELECT message_id FROM noetl.outbox WHERE kind = 'command' AND status = 'PENDING'"
        " AND execution_id = $1 AND event_id = $2 AND message_id != 'c:' || $2::TEXT || ':0'",
        command.execution_id,
        command.event_id,
    )
    return [row["message_id"] for row in rows]

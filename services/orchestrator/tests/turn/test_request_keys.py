"""W5: request keys and deadlines of starts."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
from msgspec import convert
from noetl_contract.ingress import ExecuteMessage
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_pg.errors import DatabaseUnavailable
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.gates import (
    DEADLINES_MS,
    Gate,
    Noted,
)
from services.orchestrator.tests.shard import Shard


async def test_w5_a_start_past_its_deadline_is_dropped(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message()

    answer = await shard.send(
        message["execution_id"], message, deadline_ms=int(time.time() * 1000) - 10
    )

    assert answer["status"] == 503
    assert await shard.state(message["execution_id"]) is None


async def test_w5_the_deadline_is_tested_again_in_the_commit(shard: Shard) -> None:
    """The decision was in time, the commit is not: nothing may be written."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    for milliseconds in DEADLINES_MS:
        deadline_ms = int(time.time() * 1000) + milliseconds

        async def hold(end_ms: int = deadline_ms + 20) -> None:
            await eventually(lambda: time.time() * 1000 > end_ms)

        gate.before = hold
        message = shard.start_message()
        answer = await shard.send(
            message["execution_id"], message, deadline_ms=deadline_ms, seconds=PATIENCE_SECONDS
        )

        assert answer["status"] == 503
        assert await shard.state(message["execution_id"]) is None
        if gate.commits:
            break

    assert gate.commits == 1
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.event") == 0


async def test_w5_a_start_that_may_have_been_committed_is_dropped_too(shard: Shard) -> None:
    """The database was away over the deadline: the start is looked up once, then dropped."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    deadline_ms = int(time.time() * 1000) + 500

    async def fail() -> None:
        if time.time() * 1000 > deadline_ms + 20:
            gate.before = None
        else:
            raise DatabaseUnavailable(reason="away")

    gate.before = fail
    message = shard.start_message()
    answer = await shard.send(message["execution_id"], message, deadline_ms=deadline_ms)

    assert answer["status"] == 503
    assert await shard.state(message["execution_id"]) is None


async def test_w5_a_copy_past_its_deadline_of_a_committed_start_is_answered_like_the_first(
    shard: Shard,
) -> None:
    """Both copies are seen for the first time; the second one's commit comes too late."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    message = shard.start_message()
    await shard.send(message["execution_id"], message)
    first = gate.commits
    for milliseconds in DEADLINES_MS:
        replica.rooms.cache.forget(message["execution_id"])
        deadline_ms = int(time.time() * 1000) + milliseconds

        async def hold(end_ms: int = deadline_ms + 20) -> None:
            await eventually(lambda: time.time() * 1000 > end_ms)

        gate.before = hold
        answer = await shard.send(
            message["execution_id"], message, deadline_ms=deadline_ms, seconds=PATIENCE_SECONDS
        )
        if gate.commits > first:
            break

    assert (answer["status"], (answer["body"] or {}).get("status")) == (200, "started")


async def test_w5_a_redelivered_start_is_looked_up_whatever_its_deadline(shard: Shard) -> None:
    """It may have been committed in time, its answer lost; then that answer is still true."""
    replica = await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    await shard.send(execution_id, message)
    caller = Noted()
    again = convert(message, ExecuteMessage)
    over = datetime(2026, 1, 1, tzinfo=UTC)
    turn_input = TurnInput(execution_id, again, caller, deadline=over, is_repeated=True)

    await replica.rooms.turns.run([Group(execution_id, [turn_input])], lambda: None)

    (answer,) = caller.answers
    assert (answer.status, answer.body["status"]) == (200, "started")


@pytest.mark.parametrize("field", ["idempotency_key", "dedup_key"])
async def test_w5_a_repeated_request_finds_the_first_execution(shard: Shard, field: str) -> None:
    await shard.open_replica()
    first = shard.start_message(**{field: "k"})
    second = shard.start_message(**{field: "k"})

    await shard.send(first["execution_id"], first)
    answer = await shard.send(second["execution_id"], second)
    same = await shard.send(first["execution_id"], first)

    assert answer["body"] == {
        "execution_id": str(first["execution_id"]),
        "status": "duplicate",
        "commands_generated": 0,
    }
    assert same["body"]["status"] == "started"
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.execution_state") == 1


async def test_w5_starts_with_one_key_in_one_turn_begin_one_execution(shard: Shard) -> None:
    await shard.open_replica()
    messages = [shard.start_message(idempotency_key="k") for _ in range(8)]

    answers = await asyncio.gather(*(shard.send(m["execution_id"], m) for m in messages))

    assert sorted(a["body"]["status"] for a in answers) == ["duplicate"] * 7 + ["started"]
    assert len({a["body"]["execution_id"] for a in answers}) == 1
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.execution_state") == 1


async def test_w5_a_key_of_a_refused_start_is_free(shard: Shard) -> None:
    await shard.open_replica()
    bad = shard.start_message("kind: Playbook\n", idempotency_key="k")
    good = shard.start_message(idempotency_key="k")

    refused = await shard.send(bad["execution_id"], bad)
    started = await shard.send(good["execution_id"], good)

    assert refused["status"] in {400, 422}
    assert started["body"]["status"] == "started"


async def test_w5_a_dedup_key_is_free_after_its_window(shard: Shard) -> None:
    await shard.open_replica()
    first = shard.start_message(dedup_key="k", dedup_window_seconds=100)
    await shard.send(first["execution_id"], first)
    await shard.pool.execute("UPDATE noetl.request_key SET seen_at = now() - interval '101 s'")

    second = shard.start_message(dedup_key="k", dedup_window_seconds=100)
    answer = await shard.send(second["execution_id"], second)

    assert answer["body"]["status"] == "started"
    held = await shard.pool.fetchval("SELECT execution_id FROM noetl.request_key")
    assert held == second["execution_id"]


async def test_w5_a_repeated_batch_of_events_returns_the_first_ids(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    batch = {
        "type": "events",
        "execution_id": execution_id,
        "batch": True,
        "idempotency_key": "k",
        "events": [{"event_type": "note.taken", "step": "start"} for _ in range(2)],
    }

    first = await shard.send(execution_id, batch)
    second = await shard.send(execution_id, batch)

    assert len(first["body"]["event_ids"]) == 2
    assert first == second
    assert (await shard.types(execution_id)).count("note.taken") == 2


async def test_a_child_takes_over_its_parents_trace(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start(trace={"traceparent": "00-abc-def-01"})

    child = await shard.start(parent_execution_id=parent)

    assert (await shard.log(child))[0]["meta"]["trace"] == {"traceparent": "00-abc-def-01"}

"""External publishers lease event rows (O4)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from noetl_bus.rpc import RpcClient
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import event_subject, rpc_subject
from noetl_outbox.external_publishers import pause_seconds
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.outbox.tests.rows import EXECUTION_ID, Rows, relaying

type Ask = Callable[..., Awaitable[RpcReply]]
"""Ask by name, as the edge does."""


@pytest.fixture
async def ask(rows: Rows, database: Database, nats_url: str) -> AsyncIterator[Ask]:
    client = RpcClient(rows.bus)

    async def asked(operation: str, **request: Json) -> RpcReply:
        return await client.call(
            rpc_subject("outbox", operation, shard=0), request, seconds=PATIENCE_SECONDS
        )

    async with relaying(database, nats_url, outbox_relay_events=False):
        yield asked


async def test_a_claim_gives_event_rows_by_id_and_only_once(ask: Ask, rows: Rows) -> None:
    await rows.commit(rows.event(3), rows.event(2), rows.command(1), age_seconds=5)

    first = (await ask("claim", limit=1)).body
    rest = (await ask("claim")).body
    none = (await ask("claim")).body

    assert first == {
        "rows": [
            {
                "outbox_id": 1,
                "event_id": 3,
                "execution_id": EXECUTION_ID,
                "subject": event_subject(EXECUTION_ID, shard=0),
                "payload": rows.message(3),
                "payload_codec": "json",
                "attempts": 1,
                "message_id": f"e:{EXECUTION_ID}:3",
            }
        ],
        "claimed": 1,
    }
    assert list(first["rows"][0])[:7] == [
        "outbox_id",
        "event_id",
        "execution_id",
        "subject",
        "payload",
        "payload_codec",
        "attempts",
    ]
    assert [row["event_id"] for row in rest["rows"]] == [2]
    assert none == {"rows": [], "claimed": 0}


async def test_without_events_the_relay_still_sends_commands(ask: Ask, rows: Rows) -> None:
    event, command = rows.event(1), rows.command(2)
    await rows.commit(event, command, age_seconds=5)

    async def is_sent() -> bool:
        return await rows.count("NOETL_COMMANDS") == 1

    await eventually(is_sent, what="the command is published")
    assert await rows.count("NOETL_EVENTS") == 0
    assert (await ask("pending")).body == {"pending": 1}


async def test_claims_at_once_share_the_rows(ask: Ask, rows: Rows) -> None:
    await rows.commit(*(rows.event(number) for number in range(1, 61)), age_seconds=5)

    replies = await asyncio.gather(*(ask("claim", limit=10) for _ in range(8)))

    taken = [row["event_id"] for reply in replies for row in reply.body["rows"]]
    assert sorted(taken) == list(range(1, 61))


async def test_a_claim_of_large_rows_ends_before_the_memory_does(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.commit(*(rows.event(number) for number in range(1, 61)), age_seconds=5)
    settings = {"outbox_relay_events": False, "outbox_outside_max_bytes": 1000}
    async with relaying(database, nats_url, **settings):
        claim = rpc_subject("outbox", "claim", shard=0)
        replies = [
            await RpcClient(rows.bus).call(claim, {"limit": 100}, seconds=PATIENCE_SECONDS)
            for _ in range(3)
        ]

    assert [reply.body["claimed"] for reply in replies] == [50, 10, 0]
    assert [row["event_id"] for row in replies[1].body["rows"]] == list(range(51, 61))


async def test_a_lent_row_forgets_the_stream_that_lost_it(ask: Ask, rows: Rows) -> None:
    """Otherwise each start of the relay would find it lost again."""
    await rows.commit(rows.event(1), rows.event(2), age_seconds=5)
    await rows.pool.execute(
        "UPDATE noetl.outbox SET stream_created_at = now() - interval '1 day', stream_sequence = 7,"
        " status = CASE outbox_id WHEN 1 THEN 'PENDING' ELSE 'PUBLISHED' END"
    )

    await ask("claim")
    await ask("mark.published", outbox_ids=[1, 2])

    found = [await rows.row(number) for number in (1, 2)]
    assert [row["stream_sequence"] for row in found] == [None, 7]
    assert [row["stream_created_at"] is None for row in found] == [True, False]


async def test_a_forgotten_row_is_lent_again(ask: Ask, rows: Rows) -> None:
    await rows.commit(rows.event(1), age_seconds=5)
    await ask("claim")
    await rows.pool.execute("UPDATE noetl.outbox SET available_at = now()")

    (row,) = (await ask("claim")).body["rows"]

    assert row["attempts"] == 2


async def test_published_rows_are_counted_and_unknown_ones_are_not(ask: Ask, rows: Rows) -> None:
    await rows.commit(rows.event(1), rows.event(2), age_seconds=5)
    await rows.pool.execute("UPDATE noetl.outbox SET last_error = 'x'")

    marked = await ask("mark.published", outbox_ids=[1, 2, 999])
    again = await ask("mark.published", outbox_ids=[1])

    assert (marked.body, again.body) == ({"marked": 2}, {"marked": 1})
    row = await rows.row(1)
    assert (row["status"], row["last_error"], row["published_at"] is None) == (
        "PUBLISHED",
        None,
        False,
    )


async def test_a_failed_row_waits_before_it_is_lent_again(ask: Ask, rows: Rows) -> None:
    await rows.commit(rows.event(1), age_seconds=5)
    await ask("claim")

    failed = await ask("mark.failed", outbox_id=1, error="e" * 3000, attempts=4)
    unknown = await ask("mark.failed", outbox_id=999, error="e")

    assert failed.body == {"marked": True, "available_at_in": 8}
    assert unknown.body == {"marked": True, "available_at_in": 1}
    row = await rows.row(1)
    assert (row["status"], len(row["last_error"])) == ("FAILED", 2000)
    assert (await ask("claim")).body["claimed"] == 0
    assert (await ask("pending")).body == {"pending": 0}


@pytest.mark.parametrize(
    ("attempts", "longest", "seconds"),
    [
        (-3, 300, 1),
        (0, 300, 1),
        (1, 300, 1),
        (2, 300, 2),
        (5, 300, 16),
        (9, 300, 256),
        (50, 300, 256),
        (9, 30, 30),
    ],
)
def test_pauses_double_up_to_a_limit(attempts: int, longest: int, seconds: int) -> None:
    assert pause_seconds(attempts, longest=longest) == seconds


async def test_beside_the_relay_nothing_is_published_twice(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """Both take the row: it is marked once and the stream keeps one message."""
    async with relaying(database, nats_url, outbox_grace_seconds=0.01, outbox_poll_seconds=0.02):
        client = RpcClient(rows.bus)
        for number in range(1, 21):
            await rows.commit(rows.event(number), age_seconds=5)
            reply = await client.call(
                rpc_subject("outbox", "claim", shard=0), {}, seconds=PATIENCE_SECONDS
            )
            for row in reply.body["rows"]:
                await rows.bus.publish(
                    row["subject"], b"{}", message_id=row["message_id"], seconds=PATIENCE_SECONDS
                )
            ids = [row["outbox_id"] for row in reply.body["rows"]]
            await client.call(
                rpc_subject("outbox", "mark.published", shard=0),
                {"outbox_ids": ids},
                seconds=PATIENCE_SECONDS,
            )
        await eventually(rows.all_published, what="all rows are published")

        ids = [message_id for _, message_id, _ in await rows.stored("NOETL_EVENTS")]
        assert sorted(ids) == sorted(f"e:{EXECUTION_ID}:{n}" for n in range(1, 21))

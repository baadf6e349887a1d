"""From rows to messages: acknowledgements, sweep, marking, giving up."""

import pytest
from noetl_contract.hints import PubAck
from noetl_contract.json import Json
from noetl_contract.streams import COMMANDS, COMMITS, EVENTS, INGRESS
from noetl_contract.subjects import event_subject
from noetl_outbox.rows import Row
from noetl_outbox.store import Store
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually
from prometheus_client import REGISTRY

from services.outbox.tests.rows import EXECUTION_ID, Rows, minted, relaying

NEVER = {"outbox_grace_seconds": 600.0}
AT_ONCE = {"outbox_grace_seconds": 0.001, "outbox_poll_seconds": 0.05}


def counted(by: str, *, end: str = "ok") -> float:
    """Return how many rows an orchestrator, or the sweep, has published or has not."""
    labels = {"by": by, "end": end}
    return REGISTRY.get_sample_value("noetl_outbox_rows_total", labels) or 0.0


async def test_a_command_that_its_orchestrator_published_is_marked(
    rows: Rows, database: Database, nats_url: str
) -> None:
    command = rows.command(7, outbox_id=minted(seconds_later=60))
    async with relaying(database, nats_url, **NEVER):
        await rows.commit(command)
        await rows.publish_as_its_orchestrator(command)
        await eventually(rows.all_published)

    row = await rows.row(command["outbox_id"])
    identity = await rows.bus.js.stream_info(COMMANDS.name)
    assert (row["stream_sequence"], row["attempts"]) == (1, 0)
    assert row["stream_created_at"] == identity.created
    assert await rows.count(COMMANDS.name) == 1


@pytest.mark.parametrize(
    ("seconds_later", "answer"),
    [
        (60, {"error": {"code": 503, "err_code": 10077, "description": "full"}}),
        # What an older stream of that name stored is lost with it (O5).
        (-60, {"stream": COMMANDS.name, "seq": 1}),
        (60, {"stream": "unknown", "seq": 1}),
    ],
)
async def test_a_command_of_which_nobody_knows_whether_it_is_stored_is_left_to_the_sweep(
    rows: Rows, database: Database, nats_url: str, seconds_later: float, answer: Json
) -> None:
    command = rows.command(7, outbox_id=minted(seconds_later=seconds_later))
    failed = counted("orchestrator", end="failed")
    async with relaying(database, nats_url):
        await rows.commit(command, age_seconds=-3600)
        await rows.acknowledge(command, answer)
        following = rows.command(8, outbox_id=minted(seconds_later=60))
        await rows.commit(following)
        await rows.publish_as_its_orchestrator(following)
        await eventually(lambda: _has(rows, PUBLISHED=1, PENDING=1))
        await rows.pool.execute("UPDATE noetl.outbox SET available_at = now() - interval '1 hour'")
        await eventually(rows.all_published)

    assert await rows.count(COMMANDS.name) == 2
    assert counted("orchestrator", end="failed") - failed == ("error" in answer)


async def test_sweep_finds_rows_that_nobody_published_and_builds_events_from_the_log(
    rows: Rows, database: Database, nats_url: str
) -> None:
    result = {"status": "success", "context": {"data": {"a": 1}}}
    event = rows.event(5)
    await rows.commit(event, result=result, age_seconds=60)
    before = counted("sweep")
    async with relaying(database, nats_url):
        await eventually(rows.all_published)
    assert counted("sweep") == before + 1

    assert await rows.stored(EVENTS.name) == [
        (event["subject"], event["message_id"], rows.message(5, result))
    ]


async def test_a_commit_is_told_of_by_its_positions_and_by_what_outside_readers_want(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.append(1, 2, 4)
    await rows.append(3, event_type="step.exit")
    commit = rows.of_commit(1, 4)
    await rows.commit(commit, age_seconds=60)
    async with relaying(database, nats_url):
        await eventually(rows.all_published)

    where = (commit["subject"], commit["message_id"])
    assert await rows.stored(COMMITS.name) == [
        (*where, {"execution_id": str(EXECUTION_ID), "first": 1, "last": 4})
    ]
    subject = event_subject(EXECUTION_ID, shard=0)
    relayed = rows.message(3, event_type="step.exit")
    assert await rows.stored(EVENTS.name) == [(subject, f"e:{EXECUTION_ID}:3", relayed)]


@pytest.mark.parametrize(
    ("types", "wanted"), [("", {3}), ("all", {1, 2, 3}), ("call.done, nothing", {1, 2})]
)
async def test_the_sweep_reads_the_events_of_a_commit_from_the_log(
    rows: Rows, database: Database, nats_url: str, types: str, wanted: set[int]
) -> None:
    await rows.append(1, 2, 4)
    await rows.append(3, event_type="step.exit")
    await rows.commit(rows.of_commit(1, 3), age_seconds=60)
    async with relaying(database, nats_url, outbox_event_types=types):
        await eventually(rows.all_published)

    assert await rows.count(COMMITS.name) == 1
    assert [body["position"] for _, _, body in await rows.stored(EVENTS.name)] == sorted(wanted)


async def test_without_relayed_events_commits_are_still_told_of(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.append(1, event_type="step.exit")
    await rows.commit(rows.of_commit(1, 1), age_seconds=60)
    async with relaying(database, nats_url, outbox_relay_events=False):
        await eventually(rows.all_published)

    assert (await rows.count(COMMITS.name), await rows.count(EVENTS.name)) == (1, 0)


async def test_sweep_leaves_fresh_rows_to_their_orchestrator(
    rows: Rows, database: Database, nats_url: str
) -> None:
    old, fresh = rows.event(1), rows.event(2)
    await rows.commit(fresh)
    await rows.commit(old, age_seconds=700)
    async with relaying(database, nats_url, **NEVER):
        await eventually(lambda: _has(rows, PUBLISHED=1))

    assert (await rows.row(fresh["outbox_id"]))["status"] == "PENDING"


async def test_two_relays_share_ten_thousand_rows_without_doubles(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.commit(*(rows.event(number) for number in range(1, 10_001)), age_seconds=60)
    async with relaying(database, nats_url), relaying(database, nats_url):
        await eventually(rows.all_published, every_seconds=0.2)

    claims = await rows.pool.fetch("SELECT attempts, count(*) FROM noetl.outbox GROUP BY attempts")
    sequences = await rows.pool.fetchval("SELECT count(DISTINCT stream_sequence) FROM noetl.outbox")
    assert [tuple(row) for row in claims] == [(1, 10_000)]
    assert sequences == await rows.count(EVENTS.name) == 10_000


async def test_relay_that_dies_between_publishing_and_marking_loses_and_doubles_nothing(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """The second one publishes under the same ids once the lease is over."""
    await rows.commit(*(rows.event(number) for number in range(1, 51)), age_seconds=60)
    await rows.pool.execute(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'"
    )
    await rows.pool.execute(
        "CREATE TRIGGER hang BEFORE UPDATE ON noetl.outbox FOR EACH ROW"
        " WHEN (NEW.status = 'PUBLISHED') EXECUTE FUNCTION hang()"
    )
    async with relaying(database, nats_url, outbox_lease_seconds=0.5):
        await eventually(lambda: _counts(rows, EVENTS.name, 50))
    left = await rows.statuses()
    await rows.pool.execute("DROP TRIGGER hang ON noetl.outbox")
    async with relaying(database, nats_url, outbox_lease_seconds=0.5):
        await eventually(rows.all_published)

    assert left == {"IN_FLIGHT": 50}
    assert await rows.count(EVENTS.name) == 50


async def test_row_put_back_under_another_id_is_published_again(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """O1, O3: the broker would swallow the old id."""
    command = rows.command(1)
    await rows.commit(command, age_seconds=60)
    async with relaying(database, nats_url, **AT_ONCE):
        await eventually(rows.all_published)
        await rows.pool.execute(
            "UPDATE noetl.outbox SET status = 'PENDING', message_id = 'c:1:1', available_at = now()"
        )
        await eventually(lambda: _counts(rows, COMMANDS.name, 2))
        await eventually(rows.all_published)

    assert [message_id for _, message_id, _ in await rows.stored(COMMANDS.name)] == [
        "c:1:0",
        "c:1:1",
    ]


async def test_large_event_travels_without_its_payload(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """O4."""
    result = {"status": "success", "context": {"text": "x" * 3000}}
    await rows.commit(rows.event(1), result=result, age_seconds=60)
    async with relaying(database, nats_url, outbox_event_max_bytes=2000):
        await eventually(rows.all_published)

    body = (await rows.stored(EVENTS.name))[0][2]
    assert (body["event_id"], body["result"], body["payload_omitted"]) == (1, None, True)


async def test_row_that_never_fits_is_parked_its_execution_fails_and_others_go_on(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """O4."""
    too_large = rows.command(1)
    too_large["payload"]["step"] = "x" * (9 << 20)
    nowhere = rows.event(2, subject="not a subject")
    fine = rows.command(3)
    await rows.commit(too_large, nowhere, fine, age_seconds=60)
    async with relaying(database, nats_url, **AT_ONCE):
        await eventually(lambda: _has(rows, PARKED=2, PUBLISHED=2))

    assert (await rows.row(too_large["outbox_id"]))["last_error"]
    ((_, message_id, body),) = await rows.stored(INGRESS.name)
    assert message_id == f"f:{too_large['execution_id']}:1"
    assert (body["type"], body["status"]) == ("finalize", "FAILED")
    assert [body["event_id"] for _, _, body in await rows.stored(COMMANDS.name)] == [3]


async def test_what_was_published_is_removed_after_its_time(
    rows: Rows, database: Database, nats_url: str
) -> None:
    soon = {"outbox_retention_seconds": 0.05, "outbox_purge_interval_seconds": 0.05}
    async with relaying(database, nats_url, **AT_ONCE, **soon):
        await rows.commit(rows.event(1), rows.command(2, pool="nobody"))
        await eventually(lambda: _counts(rows, EVENTS.name, 1))

        async def is_removed() -> bool:
            return bool(await rows.statuses() == {"PUBLISHED": 1})

        await eventually(is_removed)

    # The unclaimed command may have to go out again.
    assert await rows.pool.fetchval("SELECT kind FROM noetl.outbox") == "command"


async def test_a_commit_without_positions_is_parked_and_others_go_on(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.append(1)
    broken = rows.of_commit(2, 2, payload={"first": 2})
    await rows.commit(broken, rows.of_commit(1, 1), age_seconds=60)
    async with relaying(database, nats_url):
        await eventually(lambda: _counts(rows, COMMITS.name, 1))
        await eventually(lambda: _is(rows, PARKED=1))

    row = await rows.row(broken["outbox_id"])
    assert row["last_error"] == "the payload of the commit lacks fields that its message needs"
    assert await rows.count(COMMITS.name) == 1


async def test_a_commit_that_nobody_outside_reads_is_not_taken_for_lost(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """Sequences of the stream of commits say nothing about that of events."""
    await rows.append(1, 2)
    await rows.append(3, event_type="step.exit")
    silent, acknowledged = rows.of_commit(1, 2), rows.of_commit(3, 3)
    await rows.commit(silent, acknowledged, age_seconds=60)
    async with relaying(database, nats_url):
        await eventually(rows.all_published)

    assert await rows.row(silent["outbox_id"]) is None
    assert (await rows.row(acknowledged["outbox_id"]))["stream_sequence"] == 1
    assert await rows.count(COMMITS.name) == 2


async def test_a_commit_with_events_is_marked_by_the_word_of_its_orchestrator(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """It waits until all messages of the row are stored, and sends the last acknowledgement."""
    await rows.append(1, event_type="step.exit")
    commit = rows.of_commit(1, 1, outbox_id=minted(seconds_later=60))
    before = counted("orchestrator"), counted("sweep")
    async with relaying(database, nats_url, **NEVER):
        await rows.commit(commit)
        await rows.acknowledge(commit, PubAck(stream=EVENTS.name, sequence=7).plain())
        await eventually(rows.all_published)

    row = await rows.row(commit["outbox_id"])
    assert (row["status"], row["stream_sequence"], row["attempts"]) == ("PUBLISHED", 7, 0)
    assert await rows.count(EVENTS.name) == 0
    assert (counted("orchestrator"), counted("sweep")) == (before[0] + 1, before[1])


async def test_a_commit_that_its_orchestrator_published_is_done_with(
    rows: Rows, database: Database, nats_url: str
) -> None:
    """Even by an id that is older than the relay's look at the streams."""
    await rows.append(1, 2)
    commit = rows.of_commit(1, 2, outbox_id=minted(seconds_later=-60))
    async with relaying(database, nats_url, **NEVER):
        await rows.commit(commit)
        await rows.publish_as_its_orchestrator(commit)
        await eventually(lambda: _is(rows))

    assert [message_id for _, message_id, _ in await rows.stored(COMMITS.name)] == [
        commit["message_id"]
    ]


async def _has(rows: Rows, **wanted: int) -> bool:
    return bool(
        await rows.statuses() == wanted or wanted.items() <= (await rows.statuses()).items()
    )


async def _is(rows: Rows, **wanted: int) -> bool:
    return bool(await rows.statuses() == wanted)


async def _counts(rows: Rows, stream: str, wanted: int) -> bool:
    return bool(await rows.count(stream) == wanted)


async def test_w20_the_sweep_rests_while_nothing_comes_and_an_acknowledgement_ends_the_rest(
    rows: Rows, database: Database, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows committed with the acknowledged one may be lost: their process may have ended."""
    looks: list[int] = []
    claim = Store.claim_due_rows

    async def noting(self: Store, *, lease_seconds: float, limit: int) -> list[Row]:
        looks.append(1)
        return await claim(self, lease_seconds=lease_seconds, limit=limit)

    monkeypatch.setattr(Store, "claim_due_rows", noting)
    pauses = {"outbox_poll_seconds": 0.01, "outbox_idle_poll_seconds": 3600.0}
    async with relaying(database, nats_url, outbox_grace_seconds=0.02, **pauses):
        await eventually(lambda: len(looks) >= 6)
        assert len(looks) < 20  # with equal pauses there would be a hundred a second
        lost, acknowledged = rows.event(1), rows.command(2, outbox_id=minted(seconds_later=60))
        await rows.commit(lost)
        await rows.commit(acknowledged)
        await rows.publish_as_its_orchestrator(acknowledged)
        await eventually(rows.all_published)

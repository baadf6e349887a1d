"""Dead letters and parked rows: listed, put back onto their subject once, dropped."""

import orjson
import pytest
from noetl.letters.parked import drop_row, list_rows, read_row, replay_row
from noetl.letters.stream import drop_letter, list_letters, read_letter, replay_letter
from noetl.stack.errors import StackError
from noetl.stack.servers.topology import connected
from noetl_bus.broker import Bus
from noetl_bus.jetstream import get_message, stream_info
from noetl_bus.topology import ensure_topology
from noetl_contract.sharding import shard_for
from noetl_contract.streams import DEAD, INGRESS, STREAMS
from noetl_testkit.postgres import Database

STORED_AT = 1_764_230_400_000_000_000
EXECUTION = 5


async def bury(bus: Bus, number: int, body: bytes = b'{"a": 1}', **more: str) -> None:
    headers = {
        "Noetl-Dead-Reason": "no such kind",
        "Noetl-Dead-Subject": f"noetl_ingress.0.{EXECUTION}.execute",
        "Noetl-Dead-Stream": "noetl_ingress",
        "Noetl-Dead-Deliveries": "3",
        "Noetl-Reply": "somewhere",
        "Noetl-Deadline": "1",
        "traceparent": "00-aa-bb-01",
        **{name.replace("_", "-"): text for name, text in more.items()},
    }
    await bus.publish(
        "noetl_dead.noetl_ingress",
        body,
        message_id=f"d:noetl_ingress:{number}:{STORED_AT}",
        headers=headers,
    )


async def count(bus: Bus, stream: str) -> int:
    info = await stream_info(bus, stream)
    assert info is not None
    return info.messages


async def test_letters_are_paged_and_go_back_onto_their_subject_once(nats_url: str) -> None:
    async with connected(nats_url, name="letters") as bus:
        await ensure_topology(bus, STREAMS, ())
        for number in range(3):
            await bury(bus, number)

        first = await list_letters(bus, after=0, limit=2, execution=None)
        rest = await list_letters(bus, after=int(first.after or 0), limit=2, execution=EXECUTION)
        nobody_s = await list_letters(bus, after=0, limit=2, execution=6)

        assert [one.name for one in first.letters + rest.letters] == ["1", "2", "3"]
        assert (rest.after, nobody_s.letters, nobody_s.after) == (None, [], None)
        one = await read_letter(bus, 2)
        assert (one.reason, one.tries, one.execution_id, one.body, one.hindrance) == (
            "no such kind", 3, EXECUTION, {"a": 1}, None,
        )  # fmt: skip
        assert one.first_at is not None
        assert one.first_at.timestamp() == STORED_AT / 1e9
        assert one.last_at > one.first_at

        await replay_letter(bus, 2, shards=2)
        assert await count(bus, INGRESS.name) == 1
        with pytest.raises(StackError, match="there is no dead letter 2: it was replayed"):
            await replay_letter(bus, 2, shards=2)

        shard = shard_for(EXECUTION, shard_count=2)
        back = await get_message(bus, INGRESS.name, 1)
        assert back is not None
        assert back.subject == f"noetl_ingress.{shard}.{EXECUTION}.execute"
        assert orjson.loads(back.data) == {"a": 1}
        assert b"traceparent: 00-aa-bb-01" in back.headers
        assert b"Noetl-" not in back.headers

        await drop_letter(bus, 1)
        with pytest.raises(StackError, match="there is no dead letter 1"):
            await drop_letter(bus, 1)
        left = await list_letters(bus, after=0, limit=9, execution=None)
        assert [one.name for one in left.letters] == ["3"]


async def test_a_replay_that_was_killed_before_its_end_is_one_message(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    async with connected(nats_url, name="letters") as bus:
        await ensure_topology(bus, STREAMS, ())
        await bury(bus, 0)
        with monkeypatch.context() as patch:
            patch.setattr("noetl.letters.stream.delete_message", killed)
            with pytest.raises(KeyboardInterrupt):
                await replay_letter(bus, 1, shards=1)
        assert (await count(bus, DEAD.name), await count(bus, INGRESS.name)) == (1, 1)

        await replay_letter(bus, 1, shards=1)

        assert (await count(bus, DEAD.name), await count(bus, INGRESS.name)) == (0, 1)


async def test_what_was_not_kept_whole_is_not_replayed(nats_url: str) -> None:
    async with connected(nats_url, name="letters") as bus:
        await ensure_topology(bus, STREAMS, ())
        await bury(bus, 0, b'{"password": "***"}')
        await bury(bus, 1, Noetl_Dead_Cut="9000000")
        await bury(bus, 2, Noetl_Dead_Subscription="my/sub", Noetl_Dead_Source="kafka")

        for number, reason in (
            (1, "its secrets were masked when it was kept"),
            (2, "only its beginning was kept"),
            (3, "it is a message of kafka for my/sub: send it there again"),
        ):
            with pytest.raises(StackError, match=f"{number} can't be replayed: {reason}"):
                await replay_letter(bus, number, shards=1)
        assert (await count(bus, DEAD.name), await count(bus, INGRESS.name)) == (3, 0)


async def test_parked_rows_are_paged_over_shards_published_after_all_or_dropped(
    database: Database,
) -> None:
    shards = (database.address, database.address)
    database.run(
        "INSERT INTO noetl.outbox (outbox_id, execution_id, event_id, kind, status, attempts,"
        " last_error, message_id, payload) VALUES (1, 7, 1, 'command', 'PARKED', 9, 'too large',"
        """ 'c:1:0', '{"token": "t"}'), (2, 8, 1, 'event', 'PARKED', 9, 'x', 'e:8:1', NULL),"""
        " (3, 9, 1, 'event', 'PENDING', 0, NULL, 'e:9:1', NULL)"
    )

    first = await list_rows(shards, after=None, limit=3, execution=None)
    rest = await list_rows(shards, after=first.after, limit=3, execution=None)
    assert [one.name for one in first.letters + rest.letters] == ["0/1", "0/2", "1/1", "1/2"]
    assert rest.after is None
    found = await list_rows(shards, after=None, limit=3, execution=8)
    assert [one.name for one in found.letters] == ["0/2", "1/2"]
    one = await read_row(shards, "0/1")
    assert (one.subject, one.reason, one.tries, one.body) == (
        "command", "too large", 9, {"token": "***"},
    )  # fmt: skip

    await replay_row(shards, "0/1")
    with pytest.raises(StackError, match="there is no parked row 0/1: it was replayed"):
        await replay_row(shards, "0/1")
    await drop_row(shards, "1/2")
    with pytest.raises(StackError, match="there is no shard 2: this installation has 2"):
        await drop_row(shards, "2/3")

    rows = "SELECT outbox_id, status, attempts, message_id FROM noetl.outbox ORDER BY 1"
    assert database.run(rows).splitlines() == ["1|PENDING|0|c:1:0", "3|PENDING|0|e:9:1"]

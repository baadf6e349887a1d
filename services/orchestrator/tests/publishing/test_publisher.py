"""Messages of a commit are published by the orchestrator that commits, without a relay (O2)."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from msgspec import convert
from noetl_bus.publish import read_ack
from noetl_bus.topology import ensure_durable
from noetl_contract.commands import CommandNotification
from noetl_contract.hints import CommittedEvents, PubAck
from noetl_contract.json import JsonObject
from noetl_contract.streams import COMMANDS, COMMITS, EVENTS, pool_durable
from noetl_contract.subjects import (
    COMMITS_ROOT,
    event_subject,
    ingress_subject,
    published_filter,
)
from noetl_orchestrator import metrics
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.publishing import confirmations, publisher
from noetl_orchestrator.publishing.publisher import OutboxPublisher
from noetl_testkit.bus import flush
from noetl_testkit.nats import NatsServer
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.playbooks import LINEAR, LOOP
from services.orchestrator.tests.shard import Replica, Shard, opened_shard

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LIMIT = 64 << 10


async def stored(shard: Shard, stream: str) -> int:
    """Return the number of messages of a stream."""
    return int((await shard.bus.js.stream_info(stream)).state.messages)


def left() -> float:
    """Return how many rows were left to the sweep so far."""
    return float(metrics.ROWS_LEFT._value.get())


async def test_a_command_is_published_whole_and_without_itself_in_its_row(shard: Shard) -> None:
    replica = await shard.open_replica()
    await shard.read_by_one(replica)

    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await eventually(shard.notifications)

    (told,) = shard.notifications()
    notification = convert(told["body"], CommandNotification)
    assert notification.fast is not None
    assert notification.fast.command is not None
    assert notification.fast.until is not None
    assert notification.fast.command.action == "noop"
    assert notification.server_url == f"http://{execution_id}.{command.event_id}@localhost:8082"
    assert told["message_id"] == f"c:{command.event_id}:0"
    assert told["subject"] == f"noetl.commands.shared.{execution_id}"
    row = await shard.pool.fetchrow("SELECT * FROM noetl.outbox WHERE kind = 'command'")
    assert row is not None
    assert row["outbox_id"] == told["outbox_id"]
    assert row["payload"]["fast"] == {"v": 1, "shard": 0, "attempts": 0}


async def test_the_relay_gets_the_broker_s_word_for_a_row_of_one_message(shard: Shard) -> None:
    await shard.open_replica()
    acks: list[PubAck | None] = []
    await shard.bus.subscribe(
        published_filter(0), lambda ack: acks.append(read_ack(ack, ack.subject))
    )

    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await eventually(lambda: acks)

    assert acks == [PubAck(stream=COMMANDS.name, sequence=1)]
    outbox_id = await shard.pool.fetchval("SELECT outbox_id FROM noetl.outbox")
    assert shard.told == [(outbox_id, f"c:{command.event_id}:0")]


@pytest.mark.parametrize("durables", [0, 2])
async def test_a_command_is_published_without_itself_unless_one_durable_reads_its_pool(
    shard: Shard, durables: int
) -> None:
    replica = await shard.open_replica()
    spec = pool_durable("shared")
    for name in (spec.name, "another")[:durables]:
        await ensure_durable(shard.bus, dataclasses.replace(spec, name=name))
    await replica.rooms.pools.look()

    await shard.start()
    await eventually(shard.notifications)

    (told,) = shard.notifications()
    assert told["body"]["fast"] == {"v": 1, "shard": 0, "attempts": 0}


async def test_the_first_worker_of_a_pool_is_noticed_soon(shard: Shard) -> None:
    replica = await shard.open_replica()
    looking = asyncio.create_task(replica.rooms.pools.run())
    await ensure_durable(shard.bus, pool_durable("shared"))

    async def is_inlined() -> bool:
        command = await shard.command(await shard.start())
        await eventually(lambda: shard.notifications(command))
        (told,) = shard.notifications(command)
        return "command" in told["body"]["fast"]

    await eventually(is_inlined, every_seconds=0.2)
    looking.cancel()


async def test_a_large_command_is_published_without_itself(shard: Shard) -> None:
    replica = await shard.open_replica(fast_path_max_bytes=2000)
    await shard.read_by_one(replica)

    await shard.start(payload={"text": "x" * 3000})
    await eventually(shard.notifications)

    assert "command" not in shard.notifications()[0]["body"]["fast"]


async def test_all_commands_of_a_wide_loop_are_published_without_a_relay(shard: Shard) -> None:
    replica = await shard.open_replica()
    await shard.read_by_one(replica)

    await shard.start(LOOP, payload={"items": list(range(256))})
    await eventually(lambda: len(shard.told) == 256)

    assert await stored(shard, COMMANDS.name) == 256
    assert all("command" in one["body"]["fast"] for one in shard.notifications())
    rows = await shard.pool.fetch("SELECT outbox_id, message_id FROM noetl.outbox")
    assert {tuple(row) for row in rows} == set(shard.told)


async def test_a_commit_is_announced_by_its_positions_without_a_row(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    await eventually(lambda: _holds(shard, COMMITS.name, 1))

    # No outside reader wants these events.
    message = await shard.bus.js.get_msg(COMMITS.name, 1)
    assert message.subject == f"noetl_commits.0.{execution_id}"
    assert orjson.loads(message.data or b"") == {
        "execution_id": str(execution_id),
        "first": 1,
        "last": 2,
    }
    assert await shard.pool.fetch("SELECT FROM noetl.outbox WHERE kind != 'command'") == []


async def test_a_commit_that_outside_readers_want_an_event_of_has_a_row(shard: Shard) -> None:
    await shard.open_replica(outbox_event_types="playbook_started")

    execution_id = await shard.start()

    (row,) = await shard.pool.fetch(
        "SELECT message_id, payload FROM noetl.outbox WHERE kind = 'commit'"
    )
    assert tuple(row) == (f"l:{execution_id}:2", {"first": 1, "last": 2})


async def test_events_that_outside_readers_want_are_published_behind_their_commit(
    shard: Shard,
) -> None:
    await shard.open_replica(outbox_event_types="all")

    execution_id = await shard.start()
    row = await shard.pool.fetchval("SELECT outbox_id FROM noetl.outbox WHERE kind = 'commit'")
    await eventually(lambda: (row, f"l:{execution_id}:2") in shard.told)

    told = [one for one in shard.published if one not in shard.notifications()]
    assert [one["message_id"] for one in told] == [
        f"l:{execution_id}:2",
        f"e:{execution_id}:1",
        f"e:{execution_id}:2",
    ]
    assert told[0]["body"] == {"execution_id": str(execution_id), "first": 1, "last": 2}
    assert {one["subject"] for one in told[1:]} == {event_subject(execution_id, shard=0)}
    assert [one["body"]["event_type"] for one in told[1:]] == ["playbook_started", "command.issued"]
    assert await stored(shard, EVENTS.name) == 2


async def test_the_end_of_an_execution_is_published_without_a_relay(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    for _ in range(2):
        await shard.send(execution_id, shard.fast(await shard.command(execution_id)))
    await eventually(lambda: _holds(shard, EVENTS.name, 1))

    end = orjson.loads((await shard.bus.js.get_msg(EVENTS.name, 1)).data or b"")
    assert (end["event_type"], end["execution_id"]) == ("playbook.completed", str(execution_id))
    row = await shard.pool.fetchrow(
        "SELECT outbox_id, message_id FROM noetl.outbox WHERE kind = 'commit'"
    )
    assert row is not None
    await eventually(lambda: tuple(row) in shard.told)


async def test_the_trace_of_an_execution_goes_on_with_its_commits(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start(trace={"traceparent": PARENT})
    await eventually(lambda: len(shard.told) == 2)

    (told,) = [one for one in shard.published if one["subject"].startswith(COMMITS_ROOT)]
    assert told["message_id"] == f"l:{execution_id}:2"
    assert told["headers"]["traceparent"] == PARENT
    assert told["outbox_id"] in {outbox_id for outbox_id, _ in shard.told}


async def test_for_outside_publishers_each_event_has_a_row_and_is_left_to_them(
    shard: Shard,
) -> None:
    await shard.open_replica(outbox_relay_events=False)

    execution_id = await shard.start()
    await eventually(lambda: shard.told)

    rows = await shard.pool.fetch(
        "SELECT message_id, payload FROM noetl.outbox WHERE kind = 'event' ORDER BY message_id"
    )
    assert [tuple(row) for row in rows] == [
        (f"e:{execution_id}:{position}", None) for position in (1, 2)
    ]
    assert await stored(shard, EVENTS.name) == 0


async def test_messages_to_children_are_published_without_a_relay(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start()
    command = await shard.command(parent)
    child = await shard.start(parent_execution_id=parent, parent_event_id=command.event_id)

    await shard.send(parent, {"type": "cancel", "execution_id": parent, "cascade": True})
    await eventually(lambda: _ended(shard, child))

    (told,) = [one for one in shard.published if one["subject"].endswith(".cancel")]
    assert told["subject"] == ingress_subject(0, execution_id=child, kind="cancel")
    assert (told["outbox_id"], told["message_id"]) in shard.told


async def test_an_orchestrator_that_may_not_publish_commits_leaves_them_to_the_sweep(
    shard: Shard,
) -> None:
    """Its login lacks the rights: rows wait, and readers look by themselves."""
    replica = await shard.open_replica(outbox_event_types="playbook_started")
    replica.bus.forbidden.add(COMMITS_ROOT)

    await shard.start(trace={"traceparent": PARENT})
    await eventually(lambda: shard.told)
    await flush(shard.bus.nc)

    kinds = await shard.pool.fetch("SELECT kind, status FROM noetl.outbox ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("command", "PENDING"), ("commit", "PENDING")]
    assert await stored(shard, COMMITS.name) == 0


@pytest.fixture
async def small(tmp_path: Path, database: Database) -> AsyncIterator[Shard]:
    """A shard on a broker that takes 64 KiB."""
    server = NatsServer(tmp_path / "small")
    server.instance = replace(server.instance, max_payload_bytes=LIMIT)
    server.start()
    try:
        async with opened_shard(server.url, database) as shard:
            yield shard
    finally:
        server.kill()


async def test_o4_what_is_above_the_broker_s_limit_goes_without_what_makes_it_large(
    small: Shard,
) -> None:
    replica = await small.open_replica(
        outbox_event_types="all", fast_path_max_bytes=1 << 20, repeated_workload_bytes=0
    )
    await small.read_by_one(replica)

    text = "x" * (LIMIT // 2)
    execution_id = await small.start(LINEAR, payload={"text": text})
    await eventually(lambda: len(small.told) == 2)

    (told,) = small.notifications()
    assert "command" not in told["body"]["fast"]
    bodies = [one["body"] for one in small.published if one["message_id"].startswith("e:")]
    assert [(one["event_type"], one.get("payload_omitted")) for one in bodies] == [
        ("playbook_started", None),
        ("command.issued", True),
    ]
    assert bodies[1]["context"] is None
    state = await small.state(execution_id)
    assert state is not None
    assert state["status"] == "RUNNING"


class Bench:
    """A publisher on the bus of a replica, for rows of any form."""

    def __init__(self, replica: Replica) -> None:
        self.publisher = OutboxPublisher(replica.bus, replica.settings, replica.rooms.pools)

    def command(
        self, number: int, *, payload: str = "{}", inlined: bytes | None = None
    ) -> OutboxRow:
        """Return the row of a command."""
        return OutboxRow(
            outbox_id=number,
            owner=1,
            execution_id=1,
            event_id=number,
            kind="command",
            subject="noetl.commands.shared.1",
            message_id=f"c:{number}:0",
            payload=payload,
            inlined=inlined,
            pool="shared",
        )

    def commit(self, last: int, *events: JsonObject) -> OutboxRow:
        """Return the row of a commit with events for outside readers."""
        return OutboxRow(
            outbox_id=last,
            owner=1,
            execution_id=1,
            event_id=last,
            kind="commit",
            subject="noetl_commits.0.1",
            message_id=f"l:1:{last}",
            payload="{}",
            committed=CommittedEvents(first=last - len(events) + 1, last=last),
            events=events,
        )


def event(position: int, **more: object) -> JsonObject:
    """Return an event as its message."""
    return {"event_type": "step.exit", "position": position, **more}


async def test_a_row_above_the_broker_s_limit_is_left_and_others_go_on(small: Shard) -> None:
    replica = await small.open_replica(loops=False)
    bench, before = Bench(replica), left()

    await bench.publisher.publish(
        [bench.command(1, payload='{"a": "%s"}' % ("x" * LIMIT)), bench.command(2)]
    )
    await eventually(lambda: small.told)

    assert small.told == [(2, "c:2:0")]
    assert left() - before == 1


async def test_what_is_too_much_at_once_is_left_to_the_sweep(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "MOST_MESSAGES", 4)
    replica = await shard.open_replica(loops=False)
    bench, before = Bench(replica), left()

    rows = [bench.command(1), bench.commit(3, event(2), event(3)), bench.commit(5, event(5))]
    await bench.publisher.publish([*rows, bench.command(6)])
    await eventually(lambda: len(shard.told) == 2)

    assert sorted(shard.told) == [(1, "c:1:0"), (3, "l:1:3")]
    assert left() - before == 2


async def test_bytes_at_once_are_bounded_and_commands_go_without_themselves_then(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_MOST_BYTES", 5000)
    replica = await shard.open_replica(loops=False)
    await shard.read_by_one(replica)
    bench, before = Bench(replica), left()
    whole = orjson.dumps({"event_id": 0, "text": "x" * 3000})

    await bench.publisher.publish(
        [
            bench.command(1, inlined=whole),
            bench.command(2, inlined=whole),
            bench.commit(4, event(3, result="x" * 2000), event(4)),
            bench.command(5),
        ]
    )
    await eventually(lambda: len(shard.told) == 3)

    assert sorted(outbox_id for outbox_id, _ in shard.told) == [1, 2, 5]
    sizes = {one["message_id"]: len(orjson.dumps(one["body"])) for one in shard.published}
    assert sizes == {"c:1:0": len(whole), "c:2:0": 2, "c:5:0": 2}
    assert left() - before == 1


async def test_a_commit_of_several_events_is_told_of_when_all_are_stored(shard: Shard) -> None:
    """The last one is stored, one before it is refused: the relay's sweep has to see the row."""
    replica = await shard.open_replica(loops=False)
    bench, before = Bench(replica), left()
    config = (await shard.bus.js.stream_info(EVENTS.name)).config
    await shard.bus.js.update_stream(config.evolve(max_msg_size=500))

    refused = bench.commit(2, event(1, result="x" * 500), event(2))
    await bench.publisher.publish([refused, bench.commit(4, event(3), event(4))])
    await eventually(lambda: shard.told)

    assert shard.told == [(4, "l:1:4")]
    assert await stored(shard, EVENTS.name) == 3
    await eventually(lambda: left() == before + 1)


async def test_what_nobody_acknowledges_is_left_after_a_while(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await shard.open_replica(loops=False)
    bench, before = Bench(replica), left()
    await bench.publisher.publish([bench.commit(2, event(1), event(2))])
    await eventually(lambda: shard.told)
    await shard.bus.js.update_stream(
        (await shard.bus.js.stream_info(EVENTS.name)).config.evolve(no_ack=True)
    )
    await bench.publisher.publish([bench.commit(4, event(3), event(4))])
    assert left() == before

    monkeypatch.setattr(confirmations, "_LATE_SECONDS", 0.0)
    await bench.publisher.publish([bench.commit(6, event(5), event(6))])

    assert left() == before + 1
    assert len(bench.publisher._confirmations._rows) == 1
    assert shard.told == [(2, "l:1:2")]


async def test_without_a_broker_rows_are_left_and_no_turn_fails(
    own_nats: NatsServer, database: Database
) -> None:
    async with opened_shard(own_nats.url, database) as shard:
        replica = await shard.open_replica(loops=False)
        bench, before = Bench(replica), left()
        own_nats.kill()
        await eventually(lambda: not replica.bus.is_connected)

        await bench.publisher.publish([bench.command(1), bench.commit(2, event(2))])

        assert left() - before == 2
        own_nats.start()
        await eventually(lambda: replica.bus.is_connected)


async def _holds(shard: Shard, stream: str, wanted: int) -> bool:
    return await stored(shard, stream) == wanted


async def _ended(shard: Shard, execution_id: int) -> bool:
    state = await shard.state(execution_id)
    return state is not None and state["status"] == "CANCELLED"

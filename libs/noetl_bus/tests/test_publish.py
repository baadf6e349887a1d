"""Publishing to streams."""

import asyncio
import os
import signal

import orjson
import pytest
from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable, PublishRefused, StreamFull
from noetl_bus.inbox import Incoming
from noetl_bus.jetstream import stream_info
from noetl_bus.publish import Outgoing, Silence, read_ack
from noetl_bus.topology import ensure_topology
from noetl_common.errors import Invalid, TooLarge
from noetl_contract.hints import PubAck
from noetl_testkit.bus import Place, make_place, running
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually


async def test_an_ack_names_stream_and_sequence(bus: Bus, place: Place) -> None:
    ack = await bus.publish(place.subject(), b"a", message_id="1")

    assert ack == PubAck(stream=place.stream.name, sequence=1, duplicate=False)


async def test_the_same_message_id_is_stored_once(bus: Bus, place: Place) -> None:
    await bus.publish(place.subject(), b"a", message_id="1")
    again = await bus.publish(place.subject("other"), b"b", message_id="1")

    assert again == PubAck(stream=place.stream.name, sequence=1, duplicate=True)
    assert (await stream_info(bus, place.stream.name)).last_sequence == 1


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [(10158, 409, BusUnavailable), (10077, 503, StreamFull), (10052, 400, PublishRefused)],
)
def test_a_refusal_for_now_is_told_from_one_for_ever(
    number: int, code: int, expected: type[Exception]
) -> None:
    """10158: a copy with the same id is about to be stored, in a stream of several copies."""
    error = {"code": code, "err_code": number, "description": "no"}
    answer = Incoming("inbox", orjson.dumps({"error": error}), {})

    with pytest.raises(expected):
        read_ack(answer, "subject")


async def test_a_message_that_nobody_acknowledges_is_sent_again(bus: Bus, bus_prefix: str) -> None:
    """As while the stream has no leader: messages are dropped silently meanwhile."""
    late = make_place(f"{bus_prefix}_late")
    came: list[bytes] = []
    await bus.subscribe(late.subject(), lambda message: came.append(message.data))

    async def lead() -> None:
        await eventually(lambda: came)
        await ensure_topology(bus, (late.stream,))

    async with running(lead()):
        one, two = await asyncio.gather(
            bus.publish(late.subject(), b"a", message_id="1", seconds=PATIENCE_SECONDS),
            bus.publish_many([Outgoing(late.subject(), b"b", "2")], seconds=PATIENCE_SECONDS),
        )

    assert {one.sequence, *(ack.sequence for ack in two if isinstance(ack, PubAck))} == {1, 2}


async def test_many_are_stored_in_order_with_one_result_each(bus: Bus, place: Place) -> None:
    acks = await bus.publish_many(
        [Outgoing(place.subject(), b"%d" % number, f"m{number}") for number in range(500)]
    )

    assert [PubAck(stream=place.stream.name, sequence=number + 1) for number in range(500)] == acks


async def test_one_bad_message_does_not_sink_the_others(bus: Bus, place: Place) -> None:
    good, large, spaced, refused = await bus.publish_many(
        [
            Outgoing(place.subject(), b"good", "1"),
            Outgoing(place.subject(), b"x" * (bus.largest_message + 1), "2"),
            Outgoing("a subject", b"bad", "3"),
            Outgoing(place.subject(), b"", "4", {"Nats-Expected-Stream": "another"}),
        ],
        seconds=PATIENCE_SECONDS,
    )

    assert isinstance(good, PubAck)
    assert isinstance(large, TooLarge)
    assert isinstance(spaced, Invalid)
    assert isinstance(refused, PublishRefused)


async def test_headers_count_against_the_limit(bus: Bus, place: Place) -> None:
    """The broker would end the connection, and the client would close itself for good."""
    with pytest.raises(TooLarge):
        await bus.publish(
            place.subject(),
            b"x" * (bus.largest_message - 100),
            message_id="1",
            headers={"Long": "y" * 200},
        )

    assert (await bus.publish(place.subject(), b"still alive", message_id="2")).sequence == 1


async def test_a_header_value_cannot_add_headers(bus: Bus, place: Place) -> None:
    await bus.publish(
        place.subject(), b"a", message_id="1", headers={"Reason": "one\r\nNats-Rollup: all"}
    )

    raw = await bus.request(
        f"$JS.API.STREAM.MSG.GET.{place.stream.name}", b'{"seq":1}', seconds=PATIENCE_SECONDS
    )
    assert orjson.loads(raw.data)["message"]["seq"] == 1
    message = await bus.js.get_msg(place.stream.name, 1)
    assert message.headers == {"Reason": "one Nats-Rollup: all", "Nats-Msg-Id": "1"}


async def test_a_full_stream_is_an_error_of_its_own(bus: Bus, bus_prefix: str) -> None:
    full = make_place(bus_prefix, max_bytes=2_000)
    await ensure_topology(bus, [full.stream])
    await bus.publish(full.subject(), b"x" * 1500, message_id="1")

    with pytest.raises(StreamFull):
        await bus.publish(full.subject(), b"x" * 1500, message_id="2")


async def test_no_stream_is_an_error_after_the_timeout(bus: Bus) -> None:
    with pytest.raises(BusUnavailable):
        await bus.publish("nowhere.at.all", b"", message_id="1", seconds=0.3)


async def test_a_stream_that_comes_in_time_gets_the_message(bus: Bus, bus_prefix: str) -> None:
    """The store was wiped and another service creates the stream again."""
    later = make_place(bus_prefix)
    publishing = asyncio.ensure_future(bus.publish(later.subject(), b"a", message_id="1"))
    await asyncio.sleep(0)
    await ensure_topology(bus, [later.stream])

    assert (await publishing).sequence == 1


async def test_a_refused_message_is_refused_for_good(bus: Bus, place: Place) -> None:
    with pytest.raises(PublishRefused):
        await bus.publish(
            place.subject(), b"a", message_id="1", headers={"Nats-Expected-Stream": "another"}
        )


async def test_publishing_waits_through_a_restart(own_nats: NatsServer, own_bus: Bus) -> None:
    """Kill, then publish: the message is stored once, after the restart."""
    place = make_place("restart")
    await ensure_topology(own_bus, [place.stream])
    await asyncio.to_thread(own_nats.kill)
    publishing = asyncio.ensure_future(
        own_bus.publish(place.subject(), b"a", message_id="1", seconds=PATIENCE_SECONDS)
    )
    await asyncio.to_thread(own_nats.start)

    assert await publishing == PubAck(stream=place.stream.name, sequence=1)


async def test_messages_in_flight_at_a_kill_are_stored_once(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Unacknowledged messages with an id are sent again; none is lost, none is there twice."""
    place = make_place("flight")
    await ensure_topology(own_bus, [place.stream])
    total = 3_000

    async def publish_all() -> None:
        for start in range(0, total, 100):
            acks = await own_bus.publish_many(
                [Outgoing(place.subject(), b"x", f"m{start + n}") for n in range(100)],
                seconds=PATIENCE_SECONDS,
            )
            assert all(isinstance(ack, PubAck) for ack in acks)

    async def some_are_stored() -> bool:
        return (await stream_info(own_bus, place.stream.name)).last_sequence >= 300

    async with running(publish_all()) as publishing:
        await eventually(some_are_stored, every_seconds=0)
        await asyncio.to_thread(own_nats.restart)
        await publishing

    assert (await stream_info(own_bus, place.stream.name)).last_sequence == total


async def test_without_an_id_a_lost_connection_is_an_unknown_outcome(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Sending it again could store it twice; only the caller can decide that."""
    place = make_place("unknown")
    await ensure_topology(own_bus, [place.stream])
    os.kill(own_nats.pid, signal.SIGSTOP)
    publishing = asyncio.ensure_future(
        own_bus.publish(place.subject(), b"a", message_id=None, seconds=PATIENCE_SECONDS)
    )
    await asyncio.sleep(0)
    await asyncio.to_thread(own_nats.kill)

    with pytest.raises(BusUnavailable, match="connection was lost"):
        await publishing
    await asyncio.to_thread(own_nats.start)


async def test_a_broker_that_acknowledges_nothing_is_noticed(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subject with a subscriber and no stream: the same silence as of a failed stream."""
    monkeypatch.setattr("noetl_bus.publish._SILENT_SECONDS", 0.2)
    await bus.subscribe("noetl_commits.silent", lambda _message: None)
    assert await bus.silence.is_over()

    for _ in range(2):
        with pytest.raises(BusUnavailable, match="no acknowledgement"):
            await bus.publish("noetl_commits.silent", b"a", message_id=None, seconds=0.2)

    assert bus.silence.families() == ["noetl_commits"]
    with pytest.raises(BusUnavailable, match="noetl_commits: nothing is acknowledged"):
        await bus.silence.is_over()
    bus.silence.end("noetl_commits")
    assert await bus.silence.is_over()


def test_silence_is_that_of_its_own_subjects_and_has_an_end() -> None:
    now = 1000.0
    silence = Silence(["a", "b"], clock=lambda: now)
    silence.record("a", seconds=5)
    silence.record("b", seconds=5)
    assert silence.families() == [], "one late message is no silence"
    now += 11
    silence.record("a", seconds=5)
    assert silence.families() == ["a"]
    silence.end("b")
    now += 300
    assert silence.families() == ["a"], "who has nothing to publish learns of no end"
    now += 400
    assert silence.families() == [], "nor of a silence that goes on"
    silence.record("a", seconds=5)
    silence.clear()
    assert silence.families() == []
    # Two short outages, with nothing published in between, are not one long silence.
    silence.record("a", seconds=1)
    now += 240
    silence.record("a", seconds=1)
    assert silence.families() == []

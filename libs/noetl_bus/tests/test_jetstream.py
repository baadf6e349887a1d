"""Questions to the broker's API, and the pauses between tries."""

import asyncio
from datetime import UTC, datetime, timedelta

import noetl_common.retry
import pytest
from noetl_bus import jetstream
from noetl_bus.broker import Bus
from noetl_bus.topology import ensure_topology
from noetl_common.errors import NoetlError
from noetl_common.retry import backoff
from noetl_testkit.bus import make_place


async def test_a_stream_tells_its_times_and_numbers(bus: Bus, bus_prefix: str) -> None:
    place = make_place(bus_prefix)
    await ensure_topology(bus, [place.stream], [place.durable])
    await bus.publish(place.subject(), b"{}", message_id="one")
    info = await jetstream.stream_info(bus, place.stream.name)

    assert info is not None
    assert (info.messages, info.first_sequence, info.last_sequence) == (1, 1, 1)
    assert abs(datetime.now(UTC) - info.created_at) < timedelta(minutes=1)
    assert info.created_at <= info.first_at <= info.asked_at


async def test_a_durable_tells_what_it_has_delivered(bus: Bus, bus_prefix: str) -> None:
    place = make_place(bus_prefix)
    await ensure_topology(bus, [place.stream], [place.durable])
    await bus.publish(place.subject(), b"{}", message_id="one")
    info = await jetstream.consumer_info(bus, place.stream.name, place.durable.name)

    assert info is not None
    assert (info.pending, info.unanswered, info.delivered_sequence) == (1, 0, 0)
    assert info.filters == (place.durable.filter_subject,)
    assert [info] == await jetstream.list_consumers(bus, place.stream.name)


async def test_a_message_is_found_by_its_number(bus: Bus, bus_prefix: str) -> None:
    place = make_place(bus_prefix)
    await ensure_topology(bus, [place.stream], ())
    ack = await bus.publish(place.subject(), b"{}", message_id="one")
    message = await jetstream.get_message(bus, place.stream.name, ack.sequence)

    assert message is not None
    assert (message.subject, message.data) == (place.subject(), b"{}")
    assert message.message_id == "one"
    assert await jetstream.get_message(bus, place.stream.name, 99) is None


async def test_a_message_that_is_gone_is_deleted_no_second_time(bus: Bus, bus_prefix: str) -> None:
    place = make_place(bus_prefix)
    await ensure_topology(bus, [place.stream], ())
    for number in range(3):
        await bus.publish(place.subject(), b"{}", message_id=f"{number}")
    name = place.stream.name
    found = [await jetstream.delete_message(bus, name, number) for number in (2, 2, 99)]

    assert found == [True, False, False]


async def test_missing_things_are_none(bus: Bus, bus_prefix: str) -> None:
    assert await jetstream.stream_info(bus, bus_prefix) is None
    assert await jetstream.consumer_info(bus, bus_prefix, "nobody") is None
    assert await jetstream.list_consumers(bus, bus_prefix) is None
    with pytest.raises(NoetlError, match="refuses"):
        await jetstream.call(bus, f"STREAM.CREATE.{bus_prefix}", {"name": "another"})


async def test_pauses_end_with_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(noetl_common.retry, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    tries = [
        attempt
        async for attempt in backoff(
            first_seconds=0.001, longest_seconds=0.002, total_seconds=0.02, jitter=0.5
        )
    ]

    # A millisecond at first and two later, of which half is chance.
    assert len(tries) > 10
    assert tries == list(range(len(tries)))
    assert 100.018 - 1e-6 < now < 100.02


async def test_without_time_there_is_one_try() -> None:
    once = backoff(first_seconds=1, longest_seconds=1, total_seconds=0)

    assert [attempt async for attempt in once] == [0]

"""The broker dies, comes back, or comes back with nothing."""

import asyncio
from datetime import timedelta

import nats.errors
import pytest
from noetl_bus import wire
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery, ack_all
from noetl_bus.consumers.pull import run_pull, run_pull_each
from noetl_bus.consumers.standing_pull import StandingPull
from noetl_bus.publish import Outgoing
from noetl_bus.topology import ensure_durable, ensure_topology, run_topology_watch
from noetl_testkit.bus import flush, make_place, nats_settings, running
from noetl_testkit.nats import NatsServer
from noetl_testkit.ports import turning_away
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually


class Collector:
    """A batch handler that remembers bodies and acknowledges."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, deliveries: list[Delivery]) -> None:
        self.bodies.extend(delivery.data for delivery in deliveries)
        ack_all(deliveries)


async def test_a_pull_goes_on_by_itself_after_a_kill(own_nats: NatsServer, own_bus: Bus) -> None:
    place = make_place("kill")
    await ensure_topology(own_bus, [place.stream])
    collector = Collector()
    async with running(run_pull(own_bus, place.durable, collector)):
        for number in range(5):
            await own_bus.publish(place.subject(), b"%d" % number, message_id=f"a{number}")
            await eventually(lambda: b"%d" % number in collector.bodies)  # noqa: B023 -- now
            await asyncio.to_thread(own_nats.restart)
            after = b"after %d" % number
            await own_bus.publish(
                place.subject(), after, message_id=f"b{number}", seconds=PATIENCE_SECONDS
            )
            await eventually(lambda: after in collector.bodies)  # noqa: B023 -- now


async def test_a_pull_goes_on_by_itself_with_a_wiped_store(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Stream and durable are made again, and messages flow."""
    place = make_place("wipe")
    await ensure_topology(own_bus, [place.stream])
    collector = Collector()
    reborn: list[str] = []

    async def notice(name: str) -> None:
        reborn.append(name)

    watch = run_topology_watch(own_bus, [place.stream], [place.durable], on_stream_recreated=notice)
    async with running(watch), running(run_pull(own_bus, place.durable, collector)):
        await own_bus.publish(place.subject(), b"before", message_id="1")
        await eventually(lambda: collector.bodies == [b"before"])
        await asyncio.to_thread(own_nats.wipe)
        await own_bus.publish(place.subject(), b"after", message_id="2", seconds=PATIENCE_SECONDS)
        await eventually(lambda: collector.bodies == [b"before", b"after"])
        await eventually(lambda: reborn)
        info = await ensure_durable(own_bus, place.durable)

    assert reborn == [place.stream.name]
    assert info["config"]["max_ack_pending"] == place.durable.max_ack_pending


async def test_an_answer_to_a_lost_store_does_not_hit_the_new_one(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Sequences start at one again: a late ack for the old first message must not acknowledge
    the new first message, on which another consumer works."""
    place = make_place("stale").with_durable(ack_wait=timedelta(seconds=60))
    await ensure_topology(own_bus, [place.stream])
    await own_bus.publish(place.subject(), b"old", message_id="1")
    holding = asyncio.Event()

    async def hold(_delivery: Delivery) -> None:
        holding.set()
        await asyncio.Event().wait()

    async with (
        connect(nats_settings(own_nats.url), name="other") as other,
        StandingPull(own_bus, place.durable, window=1) as pull,
    ):
        (old,) = await pull.receive(1)
        await asyncio.to_thread(own_nats.wipe)
        await ensure_topology(other, [place.stream])
        await eventually(lambda: pull._verified)
        await other.publish(place.subject(), b"new", message_id="2", seconds=PATIENCE_SECONDS)
        # The window of the first is full with the old message, so the other one gets the new.
        async with running(run_pull_each(other, place.durable, hold, permits=1, drain_seconds=0)):
            await holding.wait()
            await old.ack()
            await flush(own_bus)
            info = await ensure_durable(own_bus, place.durable)

    assert info["num_ack_pending"] == 1
    assert info["ack_floor"]["stream_seq"] == 0


async def test_an_ack_given_while_the_broker_is_away_is_sent_after_it(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Work done in an outage isn't done again after it.

    The broker ends in good order: a killed broker may have forgotten the delivery, which it
    writes down a moment later, and delivers the message as if for the first time.
    """
    place = make_place("late").with_durable(ack_wait=timedelta(seconds=60))
    await ensure_topology(own_bus, [place.stream])
    begun, finish = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    async def handle(deliveries: list[Delivery]) -> None:
        attempts.append(deliveries[0].num_delivered)
        begun.set()
        await finish.wait()
        ack_all(deliveries)

    async def is_acked() -> bool:
        info = await ensure_durable(own_bus, place.durable)
        return bool(info["ack_floor"]["stream_seq"] == 1)

    async with running(run_pull(own_bus, place.durable, handle)):
        await own_bus.publish(place.subject(), b"a", message_id="1")
        await begun.wait()
        await asyncio.to_thread(own_nats.stop)
        await eventually(lambda: not own_bus.is_connected)
        finish.set()
        await asyncio.to_thread(own_nats.start)
        await eventually(is_acked)

    assert attempts == [1]


async def test_under_load_kills_lose_nothing(own_nats: NatsServer, own_bus: Bus) -> None:
    """Every message is handled at least once, through three kills of the broker."""
    # What a kill has caught on its way comes again after this.
    place = make_place("load").with_durable(ack_wait=timedelta(seconds=2))
    await ensure_topology(own_bus, [place.stream])
    collector = Collector()
    total = 6_000

    async def publish_all() -> None:
        for start in range(0, total, 50):
            await own_bus.publish_many(
                [Outgoing(place.subject(), b"%d" % (start + n), f"{start + n}") for n in range(50)],
                seconds=PATIENCE_SECONDS,
            )

    async with (
        running(run_pull(own_bus, place.durable, collector)),
        running(publish_all()) as publishing,
    ):
        for share in (1, 2, 3):
            await eventually(lambda: len(collector.bodies) > share * 1_000)  # noqa: B023 -- now
            await asyncio.to_thread(own_nats.restart)
        await publishing
        await eventually(lambda: len(set(collector.bodies)) == total)


async def test_readiness_follows_the_connection(own_nats: NatsServer, own_bus: Bus) -> None:
    assert await own_bus.is_ready()
    await asyncio.to_thread(own_nats.kill)
    await eventually(lambda: not own_bus.is_connected)

    assert not await own_bus.is_ready()
    await asyncio.to_thread(own_nats.start)
    await eventually(own_bus.is_ready)


async def test_connecting_waits_for_the_broker(own_nats: NatsServer) -> None:
    await asyncio.to_thread(own_nats.kill)
    connected = asyncio.Event()

    async def use() -> None:
        async with connect(nats_settings(own_nats.url), name="early"):
            connected.set()

    async with turning_away(own_nats.instance.port) as tried:
        using = asyncio.create_task(use())
        await tried.wait()
    assert not connected.is_set()
    await asyncio.to_thread(own_nats.start)
    await asyncio.wait_for(using, timeout=PATIENCE_SECONDS)

    assert connected.is_set()


async def test_a_client_without_its_read_loop_connects_again(own_bus: Bus) -> None:
    """The client's read loop ends on an unexpected error and the client looks alive for ever."""
    reading = own_bus.nc._reading_task
    assert reading is not None
    reading.cancel()

    await eventually(lambda: own_bus.nc.stats["reconnects"] == 1 and own_bus.is_ready())
    await flush(own_bus)


async def test_a_failing_reconnect_callback_does_not_stop_the_others(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    called: list[str] = []

    async def fail() -> None:
        called.append("fails")
        raise RuntimeError("a bug")

    async def work() -> None:
        called.append("works")

    own_bus.on_reconnect(fail)
    stop = own_bus.on_reconnect(work)
    await asyncio.to_thread(own_nats.restart)
    await eventually(lambda: called == ["fails", "works"])
    stop()
    await asyncio.to_thread(own_nats.restart)
    await eventually(lambda: called == ["fails", "works", "fails"])

    await flush(own_bus)


async def test_a_wrong_address_is_an_error_and_not_waited_for() -> None:
    with pytest.raises(nats.errors.Error):
        async with connect(nats_settings("nats://somewhere:notaport"), name="test"):
            pass


async def test_a_wrong_password_is_waited_for(own_nats: NatsServer) -> None:
    """The broker may get its users after us."""
    wrong = own_nats.url.replace("noetl:", "noetl:not")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), connect(nats_settings(wrong), name="test"):
            pass


@pytest.mark.parametrize("turns", range(4))
async def test_what_is_written_while_the_connection_ends_is_sent_over_the_next(
    own_bus: Bus, bus_prefix: str, *, turns: int
) -> None:
    """The flusher sees the end first; then the client writes to the closed transport itself."""
    place = make_place(f"{bus_prefix}_ends")
    await ensure_topology(own_bus, (place.stream,))
    client = own_bus.nc
    assert client._flusher_task is not None
    client._flusher_task.cancel()
    await asyncio.wait([client._flusher_task])
    client._transport._io_writer.transport.abort()
    for _ in range(turns):
        await asyncio.sleep(0)

    ack = await own_bus.publish(place.subject(), b"a", message_id="1", seconds=PATIENCE_SECONDS)

    assert ack.sequence == 1
    await flush(own_bus)


async def test_an_error_that_no_end_has_caused_is_raised(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise TypeError("a fault of the program")

    message = wire.command("nobody", b"")
    with monkeypatch.context() as patched:
        patched.setattr(own_bus.nc, "_flush_pending", fail)
        with pytest.raises(TypeError, match="a fault"):
            await wire.write(own_bus.nc, message)

    await flush(own_bus)

"""Connections to the broker that die without a word, and those that only look like it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import uvloop
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery, ack_all
from noetl_bus.consumers.pull import run_pull
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_testkit.bus import flush, make_place, running
from noetl_testkit.lines import Line, line_to
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs
from pydantic import SecretStr

_NEVER = 3600.0


@asynccontextmanager
async def bus_over(server: NatsServer, *lines: Line) -> AsyncIterator[Bus]:
    """Connect over one of the lines; the client's own probes are switched off."""
    address = urlsplit(server.url)
    login = f"{address.username}:{address.password}"
    url = ",".join(f"nats://{login}@127.0.0.1:{line.port}" for line in lines)
    settings = NatsSettings(nats_url=SecretStr(url), nats_ping_seconds=_NEVER)
    async with connect(settings, name="test") as bus:
        yield bus


@asynccontextmanager
async def bus_over_a_line(server: NatsServer) -> AsyncIterator[tuple[Bus, Line]]:
    async with line_to(urlsplit(server.url).port or 0) as line, bus_over(server, line) as bus:
        yield bus, line


async def test_a_connection_that_died_is_replaced_and_a_pull_over_it_goes_on(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    place = make_place("dead")
    await ensure_topology(own_bus, [place.stream])
    bodies: list[bytes] = []

    async def collect(deliveries: list[Delivery]) -> None:
        bodies.extend(one.data for one in deliveries)
        ack_all(deliveries)

    async with (
        bus_over_a_line(own_nats) as (bus, line),
        running(run_pull(bus, place.durable, collect)),
    ):
        await bus.publish(place.subject(), b"before", message_id="1")
        await eventually(lambda: bodies == [b"before"])

        line.cut()
        asked = asyncio.create_task(bus.publish(place.subject(), b"own", message_id="2"))
        await eventually(lambda: bus.nc.stats["reconnects"] == 1)
        await asked
        await own_bus.publish(place.subject(), b"another's", message_id="3")

        await eventually(lambda: sorted(bodies) == [b"another's", b"before", b"own"])


async def test_a_connection_that_only_listens_is_replaced_too(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    heard: list[bytes] = []
    async with bus_over_a_line(own_nats) as (bus, line):
        await bus.subscribe("news", lambda incoming: heard.append(incoming.data))
        await flush(bus)

        line.cut()
        await eventually(lambda: bus.nc.stats["reconnects"] == 1)
        await own_bus.send("news", b"one")

        await eventually(lambda: heard == [b"one"])


async def test_a_request_on_its_way_when_the_connection_died_fails_when_that_is_known(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Not when its own, longer time is over."""
    async with bus_over_a_line(own_nats) as (bus, line):
        await own_bus.subscribe("asked", lambda _incoming: None)
        await flush(own_bus)

        line.cut()
        async with unless_it_hangs():
            asked = asyncio.create_task(bus.request("asked", seconds=_NEVER))
            await asyncio.wait([asked])

        assert "the connection was lost" in str(asked.exception())


@pytest.mark.slow
async def test_a_broker_that_hangs_keeps_its_connections(own_nats: NatsServer) -> None:
    async with bus_over_a_line(own_nats) as (bus, line):
        bus.probe.last_seconds = PATIENCE_SECONDS  # however busy the machine is
        os.kill(own_nats.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: line.made >= 4)  # the third probe of it has begun
        finally:
            os.kill(own_nats.pid, signal.SIGCONT)
        await flush(bus)

        await bus.probe.cut_dead()
        assert bus.nc.stats["reconnects"] == 0


async def test_a_connection_that_is_held_up_for_a_while_is_left_alone(
    own_nats: NatsServer,
) -> None:
    """As in a gap of the network: new ones pass before TCP has sent anew what was lost."""
    async with bus_over_a_line(own_nats) as (bus, line):
        bus.probe.last_seconds = PATIENCE_SECONDS
        line.hold()
        await eventually(lambda: line.made == 2)
        await asyncio.sleep(1.0)
        line.hold(is_held=False)
        await flush(bus)

        await bus.probe.cut_dead()
        assert bus.nc.stats["reconnects"] == 0


@pytest.mark.slow
async def test_the_word_of_another_broker_counts_after_a_long_silence_alone(
    own_nats: NatsServer,
) -> None:
    port = urlsplit(own_nats.url).port or 0
    async with line_to(port) as one, line_to(port) as two, bus_over(own_nats, one, two) as bus:
        bus.probe.alone_seconds = _NEVER
        own, other = (one, two) if one.made else (two, one)
        asked = other.made
        own.cut()
        own.is_open = False
        await eventually(lambda: own.made >= 4)  # the third probe of it has begun
        assert (bus.nc.stats["reconnects"], other.made) == (0, asked)

        bus.probe.alone_seconds = 0
        await eventually(lambda: other.made > asked)
        own.is_open = True
        await eventually(lambda: bus.nc.stats["reconnects"] == 1)
        await flush(bus)


async def test_where_the_kernel_does_not_count_nothing_is_cut(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl_bus.probe.traffic_of", lambda _transport: None)
    async with bus_over_a_line(own_nats) as (bus, line):
        line.cut()
        await bus.probe.cut_dead()

        assert bus.is_connected
        assert bus.nc.stats["reconnects"] == 0


async def test_one_look_that_fails_is_not_the_last(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bus_over_a_line(own_nats) as (bus, line):
        looks: list[Bus] = []
        look = bus.probe.cut_dead

        async def fail_first() -> None:
            looks.append(bus)
            if len(looks) == 1:
                raise RuntimeError("as no one expects it")
            await look()

        monkeypatch.setattr(bus.probe, "cut_dead", fail_first)
        line.cut()

        await eventually(lambda: bus.nc.stats["reconnects"] == 1)


@pytest.mark.slow
async def test_a_connection_that_is_slow_to_take_what_we_write_is_left_alone(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """New ones are answered at once meanwhile."""
    taken: list[int] = []
    await own_bus.subscribe("large", lambda incoming: taken.append(len(incoming.data)))
    await flush(own_bus)
    async with bus_over_a_line(own_nats) as (bus, line):
        line.bytes_a_second = 1 << 20
        sent, probed = 0, line.made
        async with unless_it_hangs():
            while line.made == probed:
                await bus.send("large", bytes(900_000))
                sent += 1

        await eventually(lambda: len(taken) == sent)

        assert bus.nc.stats["reconnects"] == 0


@pytest.mark.slow
def test_on_the_loop_of_the_services_one_after_the_other_is_replaced(own_nats: NatsServer) -> None:
    """Of a closed connection it says other things than the loop of the tests."""

    async def lose_two() -> None:
        async with bus_over_a_line(own_nats) as (bus, line):
            for times in (1, 2):
                line.cut()
                await eventually(lambda times=times: bus.nc.stats["reconnects"] == times)
                await flush(bus)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(lose_two())

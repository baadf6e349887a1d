"""A delivery that waits for other work of the same consumer doesn't block it."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.permits import Permits, permit_released
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.topology import ensure_topology
from noetl_testkit.bus import flush, make_place, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually


async def test_waiters_lend_their_permits_to_what_they_wait_for(bus: Bus) -> None:
    """Four parents hold both permits; if they kept them, no child would ever begin."""
    place = make_place("family")
    await ensure_topology(bus, [place.stream])
    ended: list[bytes] = []
    children = {name: asyncio.Event() for name in (b"1", b"2", b"3", b"4")}
    working = most = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal working, most
        kind, _, name = delivery.data.partition(b" ")
        working += 1
        most = max(most, working)
        if kind == b"child":
            await flush(bus)
            children[name].set()
        else:
            working -= 1
            with permit_released():
                await bus.publish(place.subject(), b"child " + name, message_id=f"c{name!r}")
                await children[name].wait()
            working += 1
        working -= 1
        ended.append(delivery.data)

    async with running(run_pull_each(bus, place.durable, handle, permits=2)):
        for name in children:
            await bus.publish(place.subject(), b"parent " + name, message_id=f"p{name!r}")
        await eventually(lambda: len(ended) == 8)

    # Two permits, and the holders that took theirs back while both were in use.
    assert most <= 2 + 4


async def test_only_so_many_permits_are_lent() -> None:
    permits = Permits(2, most_released=1)
    await permits.acquire()
    await permits.acquire()
    with permits.released_while_waiting():
        await asyncio.wait_for(permits.acquire(), PATIENCE_SECONDS)
        with permits.released_while_waiting():
            taken = asyncio.create_task(permits.acquire())
            await asyncio.sleep(0)
            assert not taken.done()
    # Three hold two permits now: one has to be given back before anybody else gets one.
    permits.release()
    await asyncio.sleep(0)
    assert not taken.done()
    permits.release()
    await asyncio.wait_for(taken, PATIENCE_SECONDS)


async def test_a_holder_after_its_wait_gets_the_next_free_permit() -> None:
    permits = Permits(1, most_released=2)
    await permits.acquire()
    assert await permits.regain(0), "nobody has taken it meanwhile"
    with permits.released_while_waiting():
        await asyncio.wait_for(permits.acquire(), PATIENCE_SECONDS)
    assert not await permits.regain(0.01)
    assert not permits.is_crowded

    back = asyncio.create_task(permits.regain(60))
    await asyncio.sleep(0)
    other = asyncio.create_task(permits.acquire())
    await asyncio.sleep(0)
    assert permits.is_crowded
    permits.release()
    assert await asyncio.wait_for(back, PATIENCE_SECONDS)
    assert not permits.is_crowded
    assert not other.done()
    permits.release()
    await asyncio.wait_for(other, PATIENCE_SECONDS)


async def test_without_a_delivery_there_is_nothing_to_lend() -> None:
    with permit_released():
        await asyncio.sleep(0)

"""Consuming durables: answers, failures, the end."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

import noetl_bus.consumers.pull
import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery, ack_all
from noetl_bus.consumers.pull import run_pull, run_pull_each
from noetl_bus.inbox import Incoming
from noetl_bus.publish import Outgoing
from noetl_bus.topology import ensure_topology
from noetl_common import metrics
from noetl_common.errors import Transient
from noetl_testkit.bus import Place, durable_info, flush, is_settled, nats_settings, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs


async def test_what_has_arrived_is_the_batch(bus: Bus, place: Place) -> None:
    await bus.publish_many([Outgoing(place.subject(), b"%d" % n, f"{n}") for n in range(30)])
    batches: list[list[bytes]] = []

    async def handle(deliveries: list[Delivery]) -> None:
        batches.append([delivery.data for delivery in deliveries])
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle, batch=8)):
        await eventually(lambda: is_settled(bus, place, acked=30))

    assert [b"%d" % n for n in range(30)] == [body for batch in batches for body in batch]
    assert 1 < max(map(len, batches)) <= 8


@pytest.mark.parametrize("gathers", [False, True])
async def test_a_batch_does_not_wait_to_be_full(bus: Bus, place: Place, *, gathers: bool) -> None:
    """A message alone is handled at once, not when a timeout is over."""
    took: list[float] = []

    async def handle(deliveries: list[Delivery]) -> None:
        took.append(monotonic() - float(deliveries[0].data))
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle, gathers=gathers)):
        for number in range(20):
            await bus.publish(place.subject(), str(monotonic()).encode(), message_id=str(number))
            await eventually(lambda: len(took) > number, every_seconds=0.001)  # noqa: B023 -- now

    # A pull that nothing comes for ends after 30 s.
    assert sorted(took)[10] < 15


async def test_what_comes_while_a_gathering_handler_rests_comes_at_once_after_it(
    bus: Bus, place: Place
) -> None:
    """The broker keeps it until then."""
    batches: list[int] = []
    rested = asyncio.Event()

    async def handle(deliveries: list[Delivery]) -> None:
        ack_all(deliveries)
        batches.append(len(deliveries))
        await rested.wait()

    async with running(run_pull(bus, place.durable, handle, batch=64, gathers=True)):
        await bus.publish(place.subject(), b"", message_id="first")
        await eventually(lambda: batches)
        await bus.publish_many([Outgoing(place.subject(), b"", f"{n}") for n in range(30)])
        await flush(bus)
        info = await durable_info(bus, place)
        rested.set()
        await eventually(lambda: is_settled(bus, place, acked=31))

    assert info["num_ack_pending"] == 0
    # How many reads of the connection they come in is the machine's business.
    assert sum(batches) == 31
    assert max(batches) > 1


async def test_the_next_batch_comes_when_the_handler_returns(bus: Bus, place: Place) -> None:
    await bus.publish_many([Outgoing(place.subject(), b"", f"{n}") for n in range(20)])
    running_now, most = 0, 0

    async def handle(deliveries: list[Delivery]) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await flush(bus)
        running_now -= 1
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle, batch=4)):
        await eventually(lambda: is_settled(bus, place, acked=20))

    assert most == 1


async def test_a_delivery_tells_where_it_comes_from(bus: Bus, place: Place) -> None:
    await bus.publish(place.subject("a"), b"body", message_id="1", headers={"Kind": "test"})
    taken: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        taken.append(delivery)

    async with running(run_pull_each(bus, place.durable, handle, permits=1)):
        await eventually(lambda: taken)

    (delivery,) = taken
    assert (place.subject("a"), b"body") == (delivery.subject, delivery.data)
    assert (delivery.num_delivered, delivery.stream_sequence) == (1, 1)
    assert delivery.headers["Kind"] == "test"


async def test_a_failing_message_comes_again_with_growing_delay(
    bus: Bus, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bus.publish(place.subject(), b"", message_id="1")
    times: list[float] = []
    delays: list[float] = []

    def delay(number: int) -> float:
        delays.append(chosen(number))
        return delays[-1]

    chosen = noetl_bus.consumers.pull._delay
    monkeypatch.setattr(noetl_bus.consumers.pull, "_delay", delay)

    async def handle(delivery: Delivery) -> None:
        times.append(monotonic())
        if delivery.num_delivered < 4:
            raise Transient("not now")

    async with running(run_pull_each(bus, place.durable, handle, permits=1)):
        await eventually(lambda: is_settled(bus, place, acked=1))

    first, second, third = delays
    assert 0.1 < first < second < third
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert all(wait > wanted * 0.9 for wait, wanted in zip(waits, delays, strict=True))


async def test_a_failing_batch_comes_again_and_answered_ones_do_not(bus: Bus, place: Place) -> None:
    await bus.publish_many([Outgoing(place.subject(), b"%d" % n, f"{n}") for n in range(4)])
    counts: Counter[bytes] = Counter()

    async def handle(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            counts[delivery.data] += 1
            if delivery.data == b"2" and counts[b"2"] == 1:
                raise RuntimeError("a bug")
            await delivery.ack()

    async with running(run_pull(bus, place.durable, handle)):
        await eventually(lambda: is_settled(bus, place, acked=4))

    assert counts[b"0"] == counts[b"1"] == 1
    assert counts[b"2"] == 2


async def test_an_unanswered_delivery_comes_again(bus: Bus, place: Place) -> None:
    """A handler that forgets one must not lose it."""
    await bus.publish(place.subject(), b"", message_id="1")
    attempts: list[int] = []

    async def handle(deliveries: list[Delivery]) -> None:
        attempts.append(deliveries[0].num_delivered)
        if len(attempts) > 1:
            ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle)):
        await eventually(lambda: is_settled(bus, place, acked=1))

    assert attempts == [1, 2]


async def test_a_slow_handler_is_kept_alive(bus: Bus, place: Place) -> None:
    """Longer than the ack wait, and still one delivery; also what waits behind it in the queue."""
    slow = place.with_durable(ack_wait=timedelta(seconds=1))
    async with unless_it_hangs():
        for attempt in itertools.count(1):
            deliveries, longest_silence = await handled_slowly(bus, slow, attempt)
            # Else the machine stood still, and the broker was right to deliver again.
            if longest_silence < 0.7:
                break

    assert deliveries == [1, 1]


async def handled_slowly(bus: Bus, slow: Place, attempt: int) -> tuple[list[int], float]:
    """Handle two messages, each during four reports of work in progress.

    Return which deliveries there were, and how long nothing was reported at most.
    """
    deliveries: list[int] = []
    reported: Counter[str] = Counter()
    reported_at = [monotonic()]

    def hear(incoming: Incoming) -> None:
        if incoming.data == b"+WPI":
            reported[incoming.subject] += 1
            reported_at.append(monotonic())

    async def handle(batch: list[Delivery]) -> None:
        deliveries.extend(delivery.num_delivered for delivery in batch)
        # Work in progress is reported after each third of the ack wait.
        before = reported.copy()
        await eventually(lambda: max((reported - before).values(), default=0) >= 4)
        ack_all(batch)

    answers = await bus.subscribe("$JS.ACK.>", hear)
    bodies = [Outgoing(slow.subject(), b"", f"{attempt}-{number}") for number in range(2)]
    await bus.publish_many(bodies, seconds=PATIENCE_SECONDS)
    async with running(run_pull(bus, slow.durable, handle, batch=1, prefetch=4)):
        await eventually(lambda: is_settled(bus, slow, acked=2 * attempt))
    await answers.unsubscribe()
    reported_at.append(monotonic())
    return deliveries, max(after - before for before, after in itertools.pairwise(reported_at))


async def test_no_more_is_delivered_than_permits_are_free(bus: Bus, place: Place) -> None:
    """Another worker must get what this one can't run."""
    await bus.publish_many([Outgoing(place.subject(), b"", f"{n}") for n in range(10)])
    started = 0
    go_on = asyncio.Event()

    async def handle(_delivery: Delivery) -> None:
        nonlocal started
        started += 1
        await go_on.wait()

    async with running(run_pull_each(bus, place.durable, handle, permits=3)):
        await eventually(lambda: started == 3)
        held = await durable_info(bus, place)
        go_on.set()
        await eventually(lambda: is_settled(bus, place, acked=10))

    assert held["num_ack_pending"] == 3


async def test_two_consumers_share_the_work(bus: Bus, place: Place, nats_url: str) -> None:
    counts: Counter[str] = Counter()
    both = asyncio.Event()

    def handler(name: str) -> Callable[[Delivery], Awaitable[None]]:
        async def handle(_delivery: Delivery) -> None:
            counts[name] += 1
            if len(counts) == 2:
                both.set()
            await both.wait()

        return handle

    async with (
        connect(nats_settings(nats_url), name="other") as other,
        running(run_pull_each(bus, place.durable, handler("a"), permits=2)),
        running(run_pull_each(other, place.durable, handler("b"), permits=2)),
    ):
        await bus.publish_many([Outgoing(place.subject(), b"", f"{n}") for n in range(200)])
        await eventually(lambda: is_settled(bus, place, acked=200))

    assert counts.keys() == {"a", "b"}
    assert counts.total() == 200


async def test_when_cancelled_the_running_batch_finishes(bus: Bus, place: Place) -> None:
    """The drain: work in hand is done and acknowledged, nothing else is begun."""
    await bus.publish_many([Outgoing(place.subject(), b"%d" % n, f"{n}") for n in range(5)])
    begun, go_on = asyncio.Event(), asyncio.Event()
    handled: list[bytes] = []

    async def handle(deliveries: list[Delivery]) -> None:
        begun.set()
        await go_on.wait()
        handled.extend(delivery.data for delivery in deliveries)
        ack_all(deliveries)

    task = asyncio.create_task(run_pull(bus, place.durable, handle, batch=2))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert handled in ([b"0"], [b"0", b"1"])
    info = await durable_info(bus, place)
    assert info["ack_floor"]["stream_seq"] == len(handled)


async def test_what_was_not_begun_goes_to_another_at_once(bus: Bus, place: Place) -> None:
    """Prefetched messages don't wait out their ack wait when a process ends."""
    patient = place.with_durable(ack_wait=timedelta(seconds=60))
    await bus.publish_many([Outgoing(patient.subject(), b"%d" % n, f"{n}") for n in range(6)])
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def stuck(_deliveries: list[Delivery]) -> None:
        begun.set()
        await go_on.wait()

    async def all_delivered() -> bool:
        return (await durable_info(bus, patient))["num_ack_pending"] == 6

    task = asyncio.create_task(
        run_pull(bus, patient.durable, stuck, batch=1, prefetch=5, drain_seconds=0.1)
    )
    await begun.wait()
    await eventually(all_delivered)
    task.cancel()
    await asyncio.wait([task])
    rest: list[bytes] = []

    async def handle(deliveries: list[Delivery]) -> None:
        rest.extend(delivery.data for delivery in deliveries)
        ack_all(deliveries)

    async with running(run_pull(bus, patient.durable, handle)):
        await eventually(lambda: len(rest) == 6)

    assert sorted(rest) == [b"%d" % n for n in range(6)]


async def test_a_handler_that_outlives_its_grace_is_cancelled_and_its_message_comes_again(
    bus: Bus, place: Place
) -> None:
    patient = place.with_durable(ack_wait=timedelta(seconds=60))
    await bus.publish(patient.subject(), b"", message_id="1")
    begun = asyncio.Event()

    async def never_ends(_delivery: Delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        run_pull_each(bus, patient.durable, never_ends, permits=1, drain_seconds=0.1)
    )
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    again: list[int] = []

    async def handle(delivery: Delivery) -> None:
        again.append(delivery.num_delivered)

    async with running(run_pull_each(bus, patient.durable, handle, permits=1)):
        await eventually(lambda: again)

    assert again == [2]


async def test_a_deleted_durable_is_made_again(bus: Bus, place: Place) -> None:
    handled: list[bytes] = []

    async def handle(deliveries: list[Delivery]) -> None:
        handled.extend(delivery.data for delivery in deliveries)
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle)):
        await bus.publish(place.subject(), b"before", message_id="1")
        await eventually(lambda: is_settled(bus, place, acked=1))
        await bus.js.delete_consumer(place.stream.name, place.durable.name)
        await bus.publish(place.subject(), b"after", message_id="2")
        await eventually(lambda: b"after" in handled)

    # Mostly from the start of the stream: the new durable knows nothing of the old one's acks,
    # unless the broker had not yet thrown the old one's state away.
    assert handled in ([b"before", b"before", b"after"], [b"before", b"after"])


async def test_a_stream_made_again_is_read_from_its_start(bus: Bus, place: Place) -> None:
    """An operator deletes it while the connection stays."""
    handled: list[bytes] = []

    async def handle(deliveries: list[Delivery]) -> None:
        handled.extend(delivery.data for delivery in deliveries)
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle)):
        await bus.publish(place.subject(), b"old", message_id="1")
        await eventually(lambda: handled == [b"old"])
        await bus.js.delete_stream(place.stream.name)
        await ensure_topology(bus, [place.stream])
        await bus.publish(place.subject(), b"new", message_id="2")
        await eventually(lambda: handled == [b"old", b"new"])


async def test_more_than_one_request_may_hold_in_bytes_does_not_stall(
    bus: Bus, place: Place
) -> None:
    """The broker ends a request at 32 MB; the next one has to follow at once."""
    large = b"x" * (900 << 10)
    for start in range(0, 80, 10):
        await bus.publish_many(
            [Outgoing(place.subject(), large, f"{start + n}") for n in range(10)],
            seconds=PATIENCE_SECONDS,
        )
    count = 0

    async def handle(deliveries: list[Delivery]) -> None:
        nonlocal count
        count += len(deliveries)
        ack_all(deliveries)

    repairs = metrics.counter("noetl_bus_pull_repairs_total", "", ("stream", "consumer"))
    async with running(run_pull(bus, place.durable, handle)):
        await eventually(lambda: count == 80)

    assert repairs.labels(place.stream.name, place.durable.name)._value.get() == 0


async def test_an_idle_loop_shows_progress(bus: Bus, place: Place) -> None:
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async def handle(deliveries: list[Delivery]) -> None:
        ack_all(deliveries)

    async with running(run_pull(bus, place.durable, handle, on_progress=beat)):
        await eventually(lambda: beats >= 2)

"""The two ways to consume a durable: in batches, or each message by itself.

Both keep slow deliveries alive, repeat failed ones with growing pauses, and make a dead letter
of messages that can't succeed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_contract.streams import DurableSpec
from pydantic import ValidationError

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.permits import Permits
from noetl_bus.consumers.standing import StandingPull

type BatchHandler = Callable[[list[Delivery]], Awaitable[None]]
type EachHandler = Callable[[Delivery], Awaitable[None]]

_log = get_logger()
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 30.0
# After so many times the attempts a message becomes a dead letter without another try: a message
# that kills its process never gets as far as an error, and must not be delivered for ever.
_KILLER_FACTOR = 5
_HOPELESS = (Permanent, ValidationError, msgspec.DecodeError, UnicodeDecodeError)


async def run_pull(
    bus: Bus,
    spec: DurableSpec,
    handler: BatchHandler,
    *,
    batch: int = 256,
    prefetch: int | None = None,
    max_attempts: int = 20,
    drain_seconds: float = 20.0,
    gathers: bool = False,
    on_progress: Callable[[], None] | None = None,
) -> None:
    """Pass arrived messages to ``handler``, batch after batch, until cancelled.

    The handler answers every delivery (``ack``, ``nak``, ``term``, ``dead_letter``); the next
    batch is taken when it returns. Deliveries without an answer are repeated with a growing
    delay, also when the handler raises; after ``max_attempts`` deliveries such a message becomes
    a dead letter. A handler that waits for a dependency in an outage should hold its batch and
    go on trying: the batch is kept alive and no attempt is used (if ``on_progress`` feeds
    liveness, the handler has to show progress itself meanwhile).

    The durable is created, updated and, when it vanishes, created again; its stream must be
    made by ``ensure_topology``. When cancelled, the running handler gets ``drain_seconds`` to
    finish, and deliveries that it was not given go back to the broker at once.

    Args:
        bus: the connection.
        spec: the durable.
        handler: takes a batch.
        batch: most deliveries in one call.
        prefetch: deliveries that may wait here beside the running batch; default ``batch``.
        max_attempts: deliveries after which a failing message becomes a dead letter.
        drain_seconds: grace of the running handler after a cancellation.
        gathers: for a handler that rests before it returns: what comes meanwhile stays at the
            broker, and comes at once with the next batch.
        on_progress: called at each batch and each idle second (``service.beater``).

    Raises:
        BusClosed: the connection is gone for good.
    """
    window = batch + (batch if prefetch is None else prefetch)
    async with StandingPull(bus, spec, window=window, gathers=gathers) as pull:
        while True:
            deliveries = await _take(pull, batch, on_progress)
            work = _run_batch(handler, deliveries, max_attempts)
            await _drained(pull, work, drain_seconds)


async def run_pull_each(
    bus: Bus,
    spec: DurableSpec,
    handler: EachHandler,
    *,
    permits: int,
    max_lent: int = 1000,
    max_attempts: int = 20,
    drain_seconds: float = 20.0,
    on_progress: Callable[[], None] | None = None,
) -> None:
    """Pass each delivery to ``handler`` by itself, at most ``permits`` at once, until cancelled.

    The broker is asked for as many messages as permits are free. A handler that waits for other
    work of this durable releases its permit meanwhile (``permit_lent``, at most ``max_lent`` at
    once), or waiting handlers could block the work they wait for. A handler that returns
    without an answer has succeeded (ack). A `Permanent` or validation error means a message
    that can't be handled (dead letter); any other error means another delivery with a growing
    delay, and a dead letter after ``max_attempts``.

    When cancelled, running handlers get ``drain_seconds``; messages of handlers cancelled then
    are delivered to another process.

    Raises:
        BusClosed: the connection is gone for good.
    """
    running: set[asyncio.Task[None]] = set()
    waits = 0

    def in_use() -> int:
        return len(running) - free.lent + pull.queued + waits

    async def handle(delivery: Delivery) -> None:
        free.enter()
        await _run_each(handler, delivery, max_attempts)

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        free.release()

    async with StandingPull(bus, spec, window=permits, in_use=in_use) as pull:
        free = Permits(permits, most_lent=max_lent, on_free=pull.top_up)
        try:
            while True:
                (delivery,) = await _take(pull, 1, on_progress)
                waits = 1
                try:
                    await free.acquire()
                except asyncio.CancelledError:
                    await delivery.nak()
                    raise
                finally:
                    waits = 0
                task = asyncio.create_task(handle(delivery))
                running.add(task)
                task.add_done_callback(finished)
        finally:
            free.is_over = True
            await asyncio.shield(_finish(pull, running, drain_seconds))


async def _take(
    pull: StandingPull, most: int, on_progress: Callable[[], None] | None
) -> list[Delivery]:
    if on_progress is None:
        return await pull.take(most)
    while True:
        on_progress()
        if pull.queued:  # for most messages there is nothing to wait for
            return await pull.take(most)
        try:
            async with asyncio.timeout(1.0):
                return await pull.take(most)
        except TimeoutError:
            continue


async def _drained(pull: StandingPull, work: Awaitable[None], seconds: float) -> None:
    """Run a batch; when cancelled meanwhile, let it finish within its grace."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.shield(_finish(pull, {task}, seconds))
        raise


async def _finish(
    pull: StandingPull, tasks: set[asyncio.Task[None]] | set[asyncio.Future[None]], seconds: float
) -> None:
    """Stop taking messages and let handlers end, by force once the grace is over."""
    await pull.stop()
    left = [task for task in tasks if not task.done()]
    if not left:
        return
    _, late = await asyncio.wait(left, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        _log.warning("handlers_cancelled", count=len(late))
        await asyncio.wait(late, timeout=1.0)


async def _run_batch(handler: BatchHandler, deliveries: list[Delivery], max_attempts: int) -> None:
    deliveries = await _without_killers(deliveries, max_attempts)
    try:
        if deliveries:
            await handler(deliveries)
    except Exception as error:  # noqa: BLE001 -- the loop outlives its handler
        rest = [delivery for delivery in deliveries if not delivery.is_answered]
        _log_failure("batch_failed", error, unanswered=len(rest))
        # The message at fault is known only if there was one.
        hopeless = isinstance(error, _HOPELESS) and len(deliveries) == 1
        await _settle(rest, error, hopeless=hopeless, max_attempts=max_attempts)
        return
    rest = [delivery for delivery in deliveries if not delivery.is_answered]
    if rest:
        _log.error("deliveries_unanswered", count=len(rest))
        await _settle(rest, None, hopeless=False, max_attempts=max_attempts)


async def _run_each(handler: EachHandler, delivery: Delivery, max_attempts: int) -> None:
    if delivery.num_delivered > max_attempts and not await _without_killers(
        [delivery], max_attempts
    ):
        return
    try:
        await handler(delivery)
    except asyncio.CancelledError:
        await delivery.nak()
        raise
    except Exception as error:  # noqa: BLE001 -- as above
        hopeless = isinstance(error, _HOPELESS)
        if not hopeless:
            _log_failure("delivery_failed", error, attempt=delivery.num_delivered)
        await _settle([delivery], error, hopeless=hopeless, max_attempts=max_attempts)
    else:
        await delivery.ack()


async def _settle(
    deliveries: Sequence[Delivery], error: Exception | None, *, hopeless: bool, max_attempts: int
) -> None:
    """Answer failed deliveries: by a retry later, or as dead letters."""
    reason = "the handler gave no answer" if error is None else _text(error)
    for delivery in deliveries:
        if delivery.is_answered:
            continue
        if hopeless:
            await delivery.dead_letter(reason)
        elif delivery.num_delivered >= max_attempts:
            await delivery.dead_letter(f"attempts used up: {reason}")
        else:
            await delivery.nak(_delay(delivery.num_delivered))


async def _without_killers(deliveries: list[Delivery], max_attempts: int) -> list[Delivery]:
    """Move messages that were delivered far too often to the dead letters; return the others."""
    limit = max_attempts * _KILLER_FACTOR
    if all(delivery.num_delivered <= limit for delivery in deliveries):
        return deliveries
    for delivery in deliveries:
        if delivery.num_delivered > limit:
            await delivery.dead_letter(f"delivered {delivery.num_delivered} times, never answered")
    return [delivery for delivery in deliveries if not delivery.is_answered]


def _log_failure(event: str, error: Exception, **context: int) -> None:
    """Log our own errors as a line; others are bugs and need their trace."""
    if isinstance(error, NoetlError):
        _log.warning(event, error=error.message, **context)
    else:
        _log.error(event, exc_info=error, **context)


def _delay(attempt: int) -> float:
    """Return the pause before the next attempt: doubling, capped, jittered."""
    full = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 20))
    return full * random.uniform(0.75, 1.0)  # noqa: S311 -- jitter


def _text(error: Exception) -> str:
    if isinstance(error, ValidationError):
        # Without the input: it is the whole message and may hold secrets.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
    return f"{type(error).__name__}: {error}"

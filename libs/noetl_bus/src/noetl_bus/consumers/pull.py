"""The two ways to consume a durable: in batches, or each message separately.

Both keep slow deliveries alive, retry failed messages with growing pauses, and move messages that
can't succeed to the dead-letter stream.
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
from noetl_bus.consumers.standing_pull import StandingPull

type BatchHandler = Callable[[list[Delivery]], Awaitable[None]]
type EachHandler = Callable[[Delivery], Awaitable[None]]

_log = get_logger()
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 30.0
# Give up after this multiple of the maximum number of attempts without calling the handler. A
# message that kills its process never raises an error, and must not be delivered for ever.
_UNANSWERED_FACTOR = 5
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
    """Pass received messages to ``handler``, batch after batch, until cancelled.

    The handler answers every delivery (``ack``, ``nak``, ``term``, ``dead_letter``). Deliveries
    without an answer, even after an error of the handler, are retried with a growing delay. After
    ``max_attempts`` deliveries, such a message becomes a dead letter. During an outage of a
    dependency, the handler should keep its batch and retry: the batch is kept alive, and no attempt
    is used. If ``on_progress`` feeds liveness, the handler has to report progress meanwhile.

    The durable is created, updated and, if it vanishes, created again; its stream has to be created
    by ``ensure_topology``. After a cancellation, the handler gets ``drain_seconds`` to finish, and
    deliveries that it has not received are returned to the broker immediately.

    Args:
        bus: the connection.
        spec: the durable.
        handler: processes a batch.
        batch: maximum number of deliveries in one call.
        prefetch: deliveries that may wait in this process during a batch; by default ``batch``.
        max_attempts: number of deliveries after which a failing message becomes a dead letter.
        drain_seconds: grace of the handler after a cancellation.
        gathers: for a handler that pauses before it returns: messages that arrive during the pause
            stay at the broker and are received together with the next batch.
        on_progress: is called for each batch and each idle second (``service.beater``).

    Raises:
        BusClosed: the connection is closed for good.
    """
    window = batch + (batch if prefetch is None else prefetch)
    async with StandingPull(bus, spec, window=window, gathers=gathers) as pull:
        while True:
            deliveries = await _receive(pull, batch, on_progress)
            work = _run_batch(handler, deliveries, max_attempts)
            await _drained(pull, work, drain_seconds)


async def run_pull_each(
    bus: Bus,
    spec: DurableSpec,
    handler: EachHandler,
    *,
    permits: int,
    max_released: int = 1000,
    max_attempts: int = 20,
    drain_seconds: float = 20.0,
    on_progress: Callable[[], None] | None = None,
) -> None:
    """Pass each delivery to ``handler``, at most ``permits`` concurrently, until cancelled.

    As many messages are requested as permits are free. A handler that waits for other work of this
    durable has to release its permit (``permit_released``, at most ``max_released`` handlers), or
    waiting handlers could block the work for which they wait. If a handler returns without an
    answer, the message is acknowledged. After a `Permanent` or validation error, the message
    becomes a dead letter. After any other error it is delivered again with a growing delay, and
    becomes a dead letter after ``max_attempts``.

    After a cancellation, running handlers get ``drain_seconds``. Then they are cancelled, and their
    messages are delivered to another process.

    Raises:
        BusClosed: the connection is closed for good.
    """
    running: set[asyncio.Task[None]] = set()
    waits = 0

    def in_use() -> int:
        return len(running) - free.released + pull.queued + waits

    async def handle(delivery: Delivery) -> None:
        free.enter()
        await _run_each(handler, delivery, max_attempts)

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        free.release()

    async with StandingPull(bus, spec, window=permits, in_use=in_use) as pull:
        free = Permits(permits, most_released=max_released, on_free=pull.top_up)
        try:
            while True:
                (delivery,) = await _receive(pull, 1, on_progress)
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


async def _receive(
    pull: StandingPull, most: int, on_progress: Callable[[], None] | None
) -> list[Delivery]:
    if on_progress is None:
        return await pull.receive(most)
    while True:
        on_progress()
        if pull.queued:  # most messages are queued already, and a timeout costs time
            return await pull.receive(most)
        try:
            async with asyncio.timeout(1.0):
                return await pull.receive(most)
        except TimeoutError:
            continue


async def _drained(pull: StandingPull, work: Awaitable[None], seconds: float) -> None:
    """Run a batch; after a cancellation, let it finish within the grace."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.shield(_finish(pull, {task}, seconds))
        raise


async def _finish(
    pull: StandingPull, tasks: set[asyncio.Task[None]] | set[asyncio.Future[None]], seconds: float
) -> None:
    """Receive no more messages, wait for handlers, and cancel them after the grace."""
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
    deliveries = await _without_unanswered(deliveries, max_attempts)
    try:
        if deliveries:
            await handler(deliveries)
    except Exception as error:  # noqa: BLE001 -- the loop outlives its handler
        rest = [delivery for delivery in deliveries if not delivery.is_answered]
        _log_failure("batch_failed", error, unanswered=len(rest))
        # The failing message is known only if the batch has one message.
        hopeless = isinstance(error, _HOPELESS) and len(deliveries) == 1
        await _settle(rest, error, hopeless=hopeless, max_attempts=max_attempts)
        return
    rest = [delivery for delivery in deliveries if not delivery.is_answered]
    if rest:
        _log.error("deliveries_unanswered", count=len(rest))
        await _settle(rest, None, hopeless=False, max_attempts=max_attempts)


async def _run_each(handler: EachHandler, delivery: Delivery, max_attempts: int) -> None:
    if delivery.num_delivered > max_attempts and not await _without_unanswered(
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
    """Answer failed deliveries: retry them later, or move them to the dead-letter stream."""
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


async def _without_unanswered(deliveries: list[Delivery], max_attempts: int) -> list[Delivery]:
    """Make dead letters of messages that were delivered far too often; return the rest."""
    limit = max_attempts * _UNANSWERED_FACTOR
    if all(delivery.num_delivered <= limit for delivery in deliveries):
        return deliveries
    for delivery in deliveries:
        if delivery.num_delivered > limit:
            await delivery.dead_letter(f"delivered {delivery.num_delivered} times, never answered")
    return [delivery for delivery in deliveries if not delivery.is_answered]


def _log_failure(event: str, error: Exception, **context: int) -> None:
    """Log a `NoetlError` as one line, and any other error, which is a bug, with its traceback."""
    if isinstance(error, NoetlError):
        _log.warning(event, error=error.message, **context)
    else:
        _log.error(event, exc_info=error, **context)


def _delay(attempt: int) -> float:
    """Return the pause before the next attempt: doubled each time, bounded, with jitter."""
    full = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 20))
    return full * random.uniform(0.75, 1.0)  # noqa: S311 -- jitter


def _text(error: Exception) -> str:
    if isinstance(error, ValidationError):
        # The input is not included, because it is the whole message and may contain secrets.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
    return f"{type(error).__name__}: {error}"

"""Messages that were taken, until each is started, kept, or given up."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_worker.sources.source import Source, SourceAway, Taken
from noetl_worker.subscriptions import metrics
from noetl_worker.subscriptions.parts import Parts
from noetl_worker.subscriptions.spool.store import SpoolAway
from noetl_worker.subscriptions.starts import Answer, Start, start_one

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

_log = get_logger()

_MOST_ACKS = 1000


class Settling:
    """Settle messages: acknowledged once started, kept or given up, and never before."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._spec = parts.document.spec
        self._kind = self._spec.source
        self._held: dict[int, Taken] = {}
        self._acks: asyncio.Queue[Taken] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self.source: Source | None = None

    @property
    def held(self) -> int:
        """Number of messages that are not settled yet."""
        return len(self._held)

    @property
    def unsettled(self) -> list[Taken]:
        """The messages that are not settled yet."""
        return list(self._held.values())

    @property
    def goes_to_spool(self) -> bool:
        """Whether messages are kept now, and not started."""
        spool = self._parts.spool
        if spool is None:
            return False
        is_ordered = spool.spec.drain.on_recovery == "ordered_then_live"
        return self._parts.circuit.is_open or (is_ordered and not spool.is_empty)

    def take(self, taken: Sequence[Taken]) -> None:
        """Hold messages that have arrived."""
        for one in taken:
            self._held[id(one)] = one
        self._set_gauge()

    def leave(self, taken: Sequence[Taken]) -> None:
        """Let go of messages without settling them: they come again when their time is over."""
        for one in taken:
            self._held.pop(id(one), None)
        self._has_room.set()
        self._set_gauge()

    def lost_source(self) -> None:
        """Note that the connection is gone: messages taken over it will come again."""
        self.source = None

    async def freed(self, seconds: float) -> None:
        """Wait until a message is settled, or so long."""
        self._has_room.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._has_room.wait()
        except TimeoutError:
            return

    async def settle(self, taken: Taken, start: Start, answer: Answer | None) -> None:
        """Go on until a message is settled; the answer is that of a first try, if there was one."""
        refusals, reason = 0, "kept in order"
        async for _ in backoff(first_seconds=0.1, longest_seconds=5.0, jitter=0.3):
            if answer is None:
                if await self._kept(taken, start, reason):
                    break
                await self._parts.circuit.closed()
                answer = await start_one(self._parts.control, start)
            given, reason = answer, answer.reason
            answer = None
            if given.verdict == "later":
                metrics.EXECUTIONS.labels(self._kind, "error").inc()
                self._parts.circuit.failed(reason)
                continue
            self._parts.circuit.succeeded()
            if given.verdict == "accepted":
                await self._accepted(start, given)
                break
            refusals += 1
            if given.verdict == "refused" and refusals < self._spec.dead_letter.max_attempts:
                continue
            if await self._buried(taken, start, reason):
                break
        self._acks.put_nowait(taken)

    async def _accepted(self, start: Start, answer: Answer) -> None:
        outcome = "duplicate" if answer.is_repetition else "dispatched"
        metrics.EXECUTIONS.labels(self._kind, outcome).inc()
        if not start.directives or answer.is_repetition:
            return
        for controls in start.directives:
            metrics.DIRECTIVES.labels(controls).inc()
        control = self._parts.control
        context: JsonObject = {
            "subscription_id": str(control.subscription_id),
            "message_id": start.message_id,
            "directives": start.directives,
        }
        await control.note("subscription.message.directives_applied", "ingress", "APPLIED", context)

    async def _kept(self, taken: Taken, start: Start, reason: str) -> bool:
        """Keep a message in the spool, if it has to go there now."""
        spool = self._parts.spool
        if spool is None or not self.goes_to_spool:
            return False
        if spool.is_full:
            match spool.spec.on_full:
                case "stop_acking":
                    return False
                case "dead_letter":
                    return await self._buried(taken, start, "the spool is full")
                case "alert_only":
                    _log.error("spool_full", source=self._kind)
        try:
            await spool.keep(taken.message, start.key, reason=reason)
        except SpoolAway as error:
            _log.error("message_not_kept", reason=str(error))
            return False
        return True

    async def _buried(self, taken: Taken, start: Start, reason: str) -> bool:
        if self.source is None:
            return False
        return await self._parts.dead_letters.bury(taken.message, start.key, reason, self.source)

    # -- acknowledgements ----------------------------------------------------------------

    async def run_acks(self) -> None:
        """Acknowledge settled messages, many at once."""
        while True:
            batch = [await self._acks.get()]
            while len(batch) < _MOST_ACKS and not self._acks.empty():
                batch.append(self._acks.get_nowait())
            source = self.source
            try:
                if source is not None:
                    await source.ack(batch)
            except SourceAway as error:
                # They come again, and their keys are known.
                _log.warning("messages_not_acknowledged", count=len(batch), reason=str(error))
            finally:
                for one in batch:
                    self._held.pop(id(one), None)
                    self._acks.task_done()
                self._has_room.set()
                self._set_gauge()

    async def flush(self, *, seconds: float) -> bool:
        """Wait until settled messages are acknowledged; return whether they are."""
        try:
            async with asyncio.timeout(seconds):
                await self._acks.join()
        except TimeoutError:
            return False
        return True

    def _set_gauge(self) -> None:
        metrics.IN_FLIGHT.labels(self._kind).set(len(self._held))

"""Watches of executions' output at this edge: subscribed to, and announced to the workers.

Workers send lines only of executions that are watched, so this is asked for again and again, and
forgotten by not asking any more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from noetl_bus.broker import Bus, Subscription
from noetl_bus.inbox import Incoming
from noetl_common.logging import get_logger
from noetl_contract.hints import WatchHint
from noetl_contract.http.workers.output import OutputBatch
from noetl_contract.subjects import WATCH_HINT, output_subject
from pydantic import ValidationError

type Take = Callable[[OutputBatch], None]

_REPEAT_SECONDS = 3.0
_SOON_SECONDS = 0.5
_FRESH_TIMES = 2
"""How often what was printed so far is asked for: a broker learns late of a subscription."""

_log = get_logger()


@dataclass(slots=True)
class _Watched:
    takers: list[Take] = field(default_factory=list)
    subscription: Subscription | None = None
    fresh: int = _FRESH_TIMES


class OutputWatches:
    """One subscription for each execution that is watched here, as long as it is."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._watched: dict[int, _Watched] = {}
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def watch(self, execution_id: int, take: Take) -> AsyncIterator[None]:
        """Pass the batches of an execution to ``take``, which must be quick, during the block."""
        watched = self._watched.setdefault(execution_id, _Watched())
        watched.takers.append(take)
        try:
            if watched.subscription is None:
                subject = output_subject(execution_id)
                watched.subscription = await self._bus.subscribe(subject, self._on_batch)
            self.ask_again(execution_id)
            yield
        finally:
            watched.takers.remove(take)
            if not watched.takers and self._watched.get(execution_id) is watched:
                del self._watched[execution_id]
                if watched.subscription is not None:
                    await watched.subscription.unsubscribe()

    def ask_again(self, execution_id: int) -> None:
        """Have workers send what the runs of an execution have printed so far."""
        watched = self._watched.get(execution_id)
        if watched is not None:
            watched.fresh = _FRESH_TIMES
            self._changed.set()

    async def run(self) -> None:
        """Announce to workers what is watched, until cancelled."""

        async def ask() -> None:
            for number in self._watched:
                self.ask_again(number)

        stop = self._bus.on_reconnect(ask)
        try:
            while True:
                await self._until_due()
                await self._tell()
        finally:
            stop()

    async def _until_due(self) -> None:
        if not self._watched:
            await self._changed.wait()
        else:
            is_asking = any(one.fresh for one in self._watched.values())
            try:
                async with asyncio.timeout(_SOON_SECONDS if is_asking else _REPEAT_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
        self._changed.clear()

    async def _tell(self) -> None:
        if not self._watched:
            return
        fresh = [number for number, one in self._watched.items() if one.fresh]
        for number in fresh:
            self._watched[number].fresh -= 1
        hint = WatchHint(executions=list(self._watched), fresh=fresh)
        await self._bus.send(WATCH_HINT, hint.to_json())

    def _on_batch(self, message: Incoming) -> None:
        try:
            batch = OutputBatch.model_validate_json(message.data)
        except ValidationError as error:
            _log.warning("output_unreadable", error=error.errors(include_input=False)[0]["msg"])
            return
        # What a worker says of itself is not taken for another execution.
        if output_subject(batch.execution_id) != message.subject:
            return
        watched = self._watched.get(batch.execution_id)
        for take in list(watched.takers) if watched is not None else ():
            take(batch)

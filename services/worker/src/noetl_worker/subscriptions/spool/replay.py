"""Bring kept messages back, once executions can be started again."""

import asyncio
from collections.abc import Callable, Sequence

from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_worker.subscriptions import metrics
from noetl_worker.subscriptions.circuit import Circuit
from noetl_worker.subscriptions.control import Control, Document
from noetl_worker.subscriptions.spool.spool import Spool, numbers_by_key
from noetl_worker.subscriptions.spool.store import Item, SpoolAway
from noetl_worker.subscriptions.starts import start_of, start_one

_log = get_logger()

_PAGE = 100
_AT_ONCE = 16
_LOOK_SECONDS = 0.2


class Replay:
    """Start the messages of the spool, in the order that the subscription asks for."""

    def __init__(
        self,
        spool: Spool,
        *,
        control: Control,
        document: Document,
        circuit: Circuit,
        beat: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._control = control
        self._document = document
        self._circuit = circuit
        self._beat = beat
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Replay whenever there is something and the circuit is closed."""
        pause = 0.2
        while True:
            self._beat()
            if self._spool.is_empty or self._circuit.is_open:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            try:
                await self._page(self._spool.numbers[:_PAGE])
                pause = 0.2
            except SpoolAway as error:
                _log.warning("spool_away", reason=str(error))
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)

    async def _page(self, numbers: Sequence[int]) -> None:
        read = [await self._spool.read(number) for number in numbers]
        items = [item for item in read if item is not None]
        match self._spool.spec.ordering:
            case "global":
                lines = [items]
            case "per_key":
                lines = list(numbers_by_key(items).values())
            case "none":
                lines = [[item] for item in items]
        await asyncio.gather(*(self._line(line) for line in lines))

    async def _line(self, items: Sequence[Item]) -> None:
        async with self._places:
            for item in items:
                await self._item(item)

    async def _item(self, item: Item) -> None:
        """Start one item, however long that takes."""
        spec = self._document.spec
        start = start_of(
            item.message,
            identity=item.dedup_key,
            spec=spec,
            path=self._document.path,
            subscription_id=self._control.subscription_id,
        )
        refusals = 0
        async for _ in backoff(first_seconds=0.1, longest_seconds=5.0, jitter=0.3):
            await self._circuit.closed()
            answer = await start_one(self._control, start)
            if answer.verdict == "later":
                self._circuit.failed(answer.reason)
                continue
            self._circuit.succeeded()
            if answer.verdict == "accepted":
                outcome = "duplicate" if answer.is_repetition else "dispatched"
                metrics.EXECUTIONS.labels(spec.source, outcome).inc()
                await self._spool.forget(item.recv_seq)
                return
            refusals += 1
            if answer.verdict == "poison" or refusals >= spec.dead_letter.max_attempts:
                metrics.DEAD_LETTERED.labels(spec.source).inc()
                await self._spool.bury(item, answer.reason)
                return

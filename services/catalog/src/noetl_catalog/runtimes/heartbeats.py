"""Heartbeats of many workers in one statement."""

import asyncio
from collections import deque
from collections.abc import Iterable

from noetl_common.errors import Unavailable
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.workers.runtimes import RuntimeBeat

from noetl_catalog.runtimes.store import RuntimeStore

type _Waiting = tuple[RuntimeBeat, asyncio.Future[bool]]

_MOST_AT_ONCE = 1000


class Heartbeats:
    """Writes heartbeats in batches: those that arrive while one statement runs go into the next."""

    def __init__(self, store: RuntimeStore, *, ids: SnowflakeIds) -> None:
        self._store = store
        self._ids = ids
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._has_ended = False

    async def beat(self, beat: RuntimeBeat) -> bool:
        """Record a heartbeat; False when the runtime has left and has to register again."""
        if self._has_ended:
            return (await self._touch([beat]))[beat.kind, beat.name]
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((beat, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Write batches of heartbeats until cancelled; later heartbeats are written one by one."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    size = min(len(self._waiting), _MOST_AT_ONCE)
                    await self._write([self._waiting.popleft() for _ in range(size)])
        finally:
            self._has_ended = True
            _refuse(self._waiting, Unavailable(what="the catalog service"))

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            alive = await self._touch([beat for beat, _ in batch])
        except asyncio.CancelledError:
            _refuse(batch, Unavailable(what="the catalog service"))
            raise
        except Exception as error:  # noqa: BLE001 -- every waiting request gets it
            _refuse(batch, error)
            return
        for beat, answer in batch:
            if not answer.done():
                answer.set_result(alive[beat.kind, beat.name])

    async def _touch(self, beats: list[RuntimeBeat]) -> dict[tuple[str, str], bool]:
        alive = await self._store.touch_runtimes(beats)
        missing = {
            (beat.kind, beat.name): beat for beat in beats if (beat.kind, beat.name) not in alive
        }
        if missing:
            await self._store.insert_heard_runtimes(
                [(self._ids.next(), beat) for beat in missing.values()]
            )
            alive.update(dict.fromkeys(missing, True))
        return alive


def _refuse(waiting: Iterable[_Waiting], error: Exception) -> None:
    for _, answer in waiting:
        if not answer.done():
            answer.set_exception(error)

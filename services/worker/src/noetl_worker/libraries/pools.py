"""The interpreters that have libraries: a pool for each environment, closed when unused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.libraries.requirements import Requirements

from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.libraries.environments import Environment, Environments
from noetl_worker.libraries.locks import Locks

type MakePool = Callable[[Path], InterpreterPool]


@dataclass(slots=True, eq=False)
class _Warm:
    """The interpreters of one environment."""

    environment: Environment
    pool: InterpreterPool
    users: int = 0
    used_at: float = 0.0


class LibraryPools:
    """Hands scripts with libraries to interpreters that have them.

    Args:
        locks: know what requirements were resolved to.
        environments: have the packages of a lock.
        make_pool: makes interpreters that find packages in a folder.
        most: environments whose interpreters are kept, while no more are in use.
        seconds: how long those of an unused one are kept.
    """

    def __init__(
        self,
        locks: Locks,
        environments: Environments,
        *,
        make_pool: MakePool,
        most: int,
        seconds: float,
    ) -> None:
        self._locks = locks
        self._environments = environments
        self._make_pool = make_pool
        self._most = most
        self._seconds = seconds
        self._warm: dict[str, _Warm] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def lock_of(
        self, wanted: Requirements, *, execution_id: int, server_url: str
    ) -> LibraryLock | None:
        """Return the lock that requirements have in an execution; None where they have none.

        Raises:
            LibrariesFailed: it can't be had.
        """
        return await self._locks.find(wanted, execution_id=execution_id, server_url=server_url)

    @asynccontextmanager
    async def interpreters(self, lock: LibraryLock) -> AsyncIterator[InterpreterPool]:
        """Give the interpreters of a lock, which stay until the block ends.

        Raises:
            LibrariesFailed: the environment can't be made.
        """
        key = lock.digest
        while (warm := self._warm.get(key)) is None:
            await asyncio.shield(self._opened(key, lock))
        warm.users += 1
        try:
            yield warm.pool
        finally:
            warm.users -= 1
            warm.used_at = asyncio.get_running_loop().time()
            self._trim()

    def script_directories(self) -> dict[int, str]:
        """Directories of the scripts that run now, by process id of their zygote."""
        found: dict[int, str] = {}
        for warm in self._warm.values():
            found |= warm.pool.script_directories()
        return found

    def kill_script_of(self, pid: int, *, reason: str | None = None) -> None:
        """End the script that runs under a zygote; the outcome of its run has the reason."""
        for warm in self._warm.values():
            warm.pool.kill_script_of(pid, reason=reason)

    async def close(self) -> None:
        """End all interpreters, also those being made."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await self._environments.close()
        for key in list(self._warm):
            self._close_one(key)
        await asyncio.gather(*self._closing)

    def _opened(self, key: str, lock: LibraryLock) -> asyncio.Task[None]:
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.create_task(self._open(key, lock))
            task.add_done_callback(lambda done: self._on_opened(key, done))
        return task

    def _on_opened(self, key: str, done: asyncio.Task[None]) -> None:
        del self._opening[key]
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more

    async def _open(self, key: str, lock: LibraryLock) -> None:
        environment = await self._environments.find(lock)
        self._warm[key] = _Warm(
            environment,
            self._make_pool(environment.path),
            used_at=asyncio.get_running_loop().time(),
        )
        self._trim()

    def _trim(self) -> None:
        """Close pools that were unused for too long or are too many; look again later."""
        now = asyncio.get_running_loop().time()
        unused = sorted(
            (key for key, warm in self._warm.items() if not warm.users),
            key=lambda key: self._warm[key].used_at,
        )
        for key in unused:
            is_old = self._warm[key].used_at + self._seconds <= now
            # The newest has just been opened, and whoever wants it is on his way.
            if is_old or (len(self._warm) > self._most and key != unused[-1]):
                self._close_one(key)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left = [warm.used_at for warm in self._warm.values() if not warm.users]
        if left:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(min(left) + self._seconds, self._trim)

    def _close_one(self, key: str) -> None:
        warm = self._warm.pop(key)

        async def close() -> None:
            try:
                await warm.pool.close()
            finally:
                warm.environment.close()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

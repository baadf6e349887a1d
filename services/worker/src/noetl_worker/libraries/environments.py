"""Environments of libraries: made by uv from a lock, once, and used by all scripts that ask."""

import asyncio
import contextlib
import platform
import shutil
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from noetl_common.libraries import Uv, UvFailed, UvLimits
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.libraries.lock import LibraryLock

from noetl_worker import metrics
from noetl_worker.libraries.errors import LibrariesFailed
from noetl_worker.libraries.folder import Folder, Hold, size_of
from noetl_worker.tool_settings.scripts import EnvironmentSettings

_LOOK_SECONDS: Final = 0.5
_PRINTED: Final = 64 << 10
_FAILURE_SECONDS: Final = 5.0
_VERSION_SECONDS: Final = 20.0
_REPLACED: Final = "it was removed again and again: NOETL_WORKER_LIBRARIES_BYTES is too small"
_TRIES: Final = 3
_MOST_FAILURES: Final = 1000

_log = get_logger()


@dataclass(slots=True, eq=False)
class Environment:
    """An environment in use; it isn't removed until it is closed."""

    path: Path
    hold: Hold

    def close(self) -> None:
        """Give it free."""
        self.hold.close()


class Environments:
    """Finds the environment of a lock, or makes it.

    Args:
        folder: where they are.
        settings: where packages come from, and bounds.
        executable: the interpreter that loads them; None for ours.
    """

    def __init__(
        self, folder: Folder, settings: EnvironmentSettings, *, executable: str | None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._uv = Uv(settings)
        self._executable = executable or sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001  the one outside of environments
        self._is_ours = executable is None
        self._version: str | None = None
        self._making: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, LibrariesFailed]] = {}
        self._slots = asyncio.Semaphore(settings.worker_libraries_builds)

    async def find(self, lock: LibraryLock) -> Environment:
        """Return the environment of a lock; to be closed.

        Raises:
            LibrariesFailed: it can't be made.
        """
        name = await self._name_of(lock)
        for _ in range(_TRIES):
            hold = await self._blocking(asyncio.to_thread(self._use, name))
            if hold is not None:
                return Environment(self._folder.place_of(name), hold)
            await self._made(name, lock)
        raise LibrariesFailed(_REPLACED)

    async def close(self) -> None:
        """End the environments that are being made."""
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _use(self, name: str) -> Hold | None:
        self._folder.prepare()
        return self._folder.use(name)

    async def _name_of(self, lock: LibraryLock) -> str:
        version = await self._python_version()
        if lock.python is not None and lock.python != version:
            raise LibrariesFailed(
                f"they were resolved for Python {lock.python}, this worker's scripts run on "
                f"{version} (NOETL_LIBRARIES_PYTHON of the catalog)"
            )
        return f"{lock.digest}-{version.replace('.', '')}-{platform.machine()}"

    async def _made(self, name: str, lock: LibraryLock) -> None:
        """Wait until it is made, with all other waiters; it goes on being made when we give up."""
        now = asyncio.get_running_loop().time()
        since, error = self._failed.get(name, (0.0, None))
        if error is not None and now - since < _FAILURE_SECONDS:
            raise LibrariesFailed(str(error), is_unreachable=error.is_unreachable)
        task = self._making.get(name)
        if task is None:
            task = self._making[name] = asyncio.create_task(self._make(name, lock))
            task.add_done_callback(lambda done: self._on_made(name, done))
        await asyncio.shield(task)

    def _on_made(self, name: str, done: asyncio.Task[None]) -> None:
        del self._making[name]
        error = None if done.cancelled() else done.exception()
        self._failed.pop(name, None)
        if isinstance(error, LibrariesFailed):
            self._failed[name] = asyncio.get_running_loop().time(), error
            while len(self._failed) > _MOST_FAILURES:
                self._failed.pop(next(iter(self._failed)))

    async def _make(self, name: str, lock: LibraryLock) -> None:
        seconds = self._settings.worker_libraries_build_seconds
        hold = await self._blocking(self._begun(name, seconds))
        if hold is None:  # another process has made it
            return
        started, outcome = perf_counter(), "failed"
        try:
            async with self._slots:
                await self._blocking(self._build(name, lock, seconds))
            outcome = "made"
        finally:
            hold.close()
            metrics.ENVIRONMENTS.labels(outcome).inc()
            metrics.ENVIRONMENT_SECONDS.observe(perf_counter() - started)
            _log.info(
                "libraries_environment",
                outcome=outcome,
                name=name[:16],
                seconds=round(perf_counter() - started, 2),
            )
        await self._blocking(asyncio.to_thread(self._tidy, name))

    async def _begun(self, name: str, seconds: float) -> Hold | None:
        """Wait for the right to make it; None: it is there meanwhile."""
        async for _ in backoff(first_seconds=0.05, longest_seconds=1.0, total_seconds=seconds):
            if self._folder.place_of(name).is_dir():
                return None
            hold = self._folder.begin(name)
            if hold is None:
                continue
            if not self._folder.place_of(name).is_dir():
                return hold
            hold.close()
            return None
        text = f"another process makes their environment for more than {seconds:g} seconds"
        raise LibrariesFailed(text, is_unreachable=True)

    async def _build(self, name: str, lock: LibraryLock, seconds: float) -> None:
        place = await asyncio.to_thread(self._folder.building, name)
        try:
            (place / "lock.txt").write_text(lock.lock or "")
            installing = asyncio.create_task(self._install(place, seconds))
            try:
                await self._watch(place, installing)
                await installing
            finally:
                installing.cancel()
                await asyncio.wait({installing})
            self._folder.finish(name, place / "packages")
        except UvFailed as error:
            text = f"their environment can't be made: {error}"
            raise LibrariesFailed(text, is_unreachable=error.is_unreachable) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _install(self, place: Path, seconds: float) -> None:
        (place / "packages").mkdir()
        await self._uv.run(
            (
                "install", "--quiet", "--require-hashes", "--no-deps", "--compile-bytecode",
                "--python", self._executable, "--target", "packages", "-r", "lock.txt",
            ),
            directory=place,
            limits=UvLimits(seconds, _PRINTED),
        )  # fmt: skip

    async def _watch(self, place: Path, installing: asyncio.Task[None]) -> None:
        """Look at the bytes on disk until it is installed, and behind it once more."""
        most = self._settings.worker_libraries_bytes
        while True:
            await asyncio.wait({installing}, timeout=_LOOK_SECONDS)
            is_done = installing.done()
            # What uv fetches lies beside what it installs, linked or copied.
            looked_at = place / "packages" if is_done else place
            if await asyncio.to_thread(size_of, looked_at) > (most if is_done else 2 * most):
                text = f"they have more than {most} bytes (NOETL_WORKER_LIBRARIES_BYTES)"
                raise LibrariesFailed(text)
            if is_done:
                return

    def _tidy(self, name: str) -> None:
        # A use of what was just made: it is not the one that goes.
        hold = self._folder.use(name)
        try:
            removed = self._folder.remove_old(most_bytes=self._settings.worker_libraries_bytes)
            metrics.ENVIRONMENTS.labels("removed").inc(removed)
            metrics.ENVIRONMENT_BYTES.set(self._folder.size())
        finally:
            if hold is not None:
                hold.close()

    async def _blocking[Result](self, work: Awaitable[Result]) -> Result:
        try:
            return await work
        except OSError as error:
            text = f"the folder of environments: {error.strerror}: {error.filename}"
            raise LibrariesFailed(text, is_unreachable=True) from error

    async def _python_version(self) -> str:
        if self._version is None:
            own = f"{sys.version_info.major}.{sys.version_info.minor}"
            self._version = own if self._is_ours else await _version_of(self._executable)
        return self._version


async def _version_of(executable: str) -> str:
    """Return the version of an interpreter, such as 3.13.

    Raises:
        LibrariesFailed: it doesn't say.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            executable, "-I", "-S", "-c", code, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode == 0:
            return printed.decode().strip()
    raise LibrariesFailed(f"the interpreter {executable} doesn't tell its version")

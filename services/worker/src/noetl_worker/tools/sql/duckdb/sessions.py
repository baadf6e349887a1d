"""Databases of DuckDB, each in a process of its own.

A process serves the calls of one file, or one call at a time in memory. It stays for a while for
the next ones, so that a call seldom waits for a start.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from weakref import WeakValueDictionary

import orjson
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject

from noetl_worker.hosting.fork_server import ForkServer, StartFailed, both_ends, started
from noetl_worker.hosting.place import is_below, place_for_scripts
from noetl_worker.interpreters.nursery import PREFIX
from noetl_worker.settings import Settings
from noetl_worker.tools.errors import NeverBegan, ToolError
from noetl_worker.tools.sql.duckdb.files import FileDirectories
from noetl_worker.tools.sql.duckdb.processes import DuckProcess, DuckSession
from noetl_worker.tools.tool import ToolParts

_log = get_logger()
_IN_MEMORY = ":memory:"
_SPILL_FACTOR = 4
# What DuckDB takes beside the memory that it counts.
_UNCOUNTED_BYTES = 512 << 20
_PREFIX = "noetl-duckdb-"
_PROGRAM = "noetl_worker.tools.sql.duckdb.host.program"
_OWN_VARIABLES = ("NOETL_", "POSTGRES_", "NATS_")

type _Key = tuple[str | None, bool, str | None]
"""The file, None for memory; whether servers are attached; the directory of its files."""


class DuckDbs:
    """Open databases within the worker's limits.

    Args:
        settings: of the worker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_open = settings.worker_duckdb_external
        self._server = ForkServer(_PROGRAM, {}, environment=_environment(is_open=self._is_open))
        self._turn = asyncio.Lock()
        self._files: dict[str | None, DuckProcess] = {}
        self._free: dict[_Key, list[DuckProcess]] = {}
        self._all: set[DuckProcess] = set()
        self._ending: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def directory(self, execution: int) -> str | None:
        """Return where relative names of an execution's calls in memory begin.

        None: in the worker's working directory, which its settings let queries use.

        Raises:
            ToolError: the directory can't be made.
        """
        if self._is_open or any(is_below(Path.cwd(), one) for one in self._paths):
            return None
        return await self._file_directories.of(execution)

    @asynccontextmanager
    async def session(
        self,
        path: str | None,
        *,
        directory: str | None = None,
        attach: list[JsonObject] | None = None,
        may_move: bool = False,
    ) -> AsyncIterator[DuckSession]:
        """Open a database file, or one in memory that is gone afterwards.

        Args:
            path: the file; None: in memory.
            directory: that of the execution, for calls in memory.
            attach: databases and files that the call names; servers are attached now.
            may_move: whether another worker may have the call if no process can be started here.

        Raises:
            NeverBegan: it may, and none can be started for what this machine lacks.
            ToolError: it can't be opened.
        """
        attach = attach or []
        key = _key(path, attach, directory)
        if key[0] is not None:
            self._check_database(key[0])
        process = await self._take(key, may_move=may_move)
        try:
            session = await process.open_session()
            try:
                await session.ask(
                    "open",
                    path=path or _IN_MEMORY,
                    config=self._config(process, path),
                    attach=attach,
                    confine=None if self._is_open else self._confined(directory),
                    most_bytes=self._settings.worker_sql_result_bytes,
                )
                yield session
            finally:
                await asyncio.shield(session.close())
        finally:
            self._give_back(key, process)

    async def close(self) -> None:
        """End all processes; take no more work."""
        self._is_closed = True
        if self._ending is not None:
            self._ending.cancel()
        everyone = list(self._all)
        for process in everyone:
            process.leave()
        await asyncio.gather(*(process.wait() for process in everyone))
        await self._server.close()

    async def _take(self, key: _Key, *, may_move: bool) -> DuckProcess:
        process = self._found(key)
        while process is None:
            last = self._files.get(key[0])
            if last is not None:
                await last.wait()  # until then it has the file open, and nobody else can
            async with self._turn:
                process = self._found(key)
                if process is None and key[0] not in self._files:
                    process = await self._started(key, may_move=may_move)
        process.users += 1
        return process

    def _found(self, key: _Key) -> DuckProcess | None:
        path = key[0]
        if path is not None:
            known = self._files.get(path)
            return None if known is None or known.is_leaving else known
        free = self._free.get(key, [])
        # The last one used comes first, as its memory is in the caches most likely.
        return free.pop() if free else None

    async def _fork(self, key: _Key) -> DuckProcess:
        with both_ends() as ends:
            directory = ends.directory(_PREFIX, self._place)
            control = ends.socket(socket.SOCK_SEQPACKET)
            ends.tell_end()
            process = await self._server.fork(orjson.dumps(self._task(key, directory)), ends)
        return DuckProcess(
            process,
            control,
            directory=directory,
            most_bytes=self._settings.worker_sql_result_bytes,
            on_end=self._forget,
        )

    async def _started(self, key: _Key, *, may_move: bool) -> DuckProcess:
        if self._is_closed:
            raise ToolError("Database error", "Failed to open database: the worker ends")
        try:
            process = await started(lambda: self._fork(key))
        except StartFailed as error:
            raised = NeverBegan if may_move and error.may_pass else ToolError
            raise raised("Database error", f"Failed to open database: {error}") from error
        self._all.add(process)
        if key[0] is not None:
            self._files[key[0]] = process
        return process

    def _task(self, key: _Key, directory: str) -> JsonObject:
        path, has_servers, files = key
        settings = self._settings
        extensions = settings.worker_duckdb_extension_directory or str(Path.home() / ".duckdb")
        return {
            "directory": directory,
            "cwd": files or str(Path.cwd()),
            "memory_bytes": 2 * settings.worker_duckdb_memory_bytes + _UNCOUNTED_BYTES,
            "read": None if self._is_open else [extensions],
            "write": self._confined(files),
            # Beside a file are its log and its temporary files.
            "beside": None if path is None else str(Path(path).parent),
            # A file's process serves calls with and without servers.
            "has_network": has_servers or path is not None,
        }

    @property
    def _paths(self) -> tuple[str, ...]:
        return self._settings.worker_duckdb_paths

    def _confined(self, directory: str | None) -> list[str]:
        return [*self._paths, *([] if directory is None else [directory])]

    @cached_property
    def _place(self) -> Path:
        return place_for_scripts(self._settings)

    @cached_property
    def _file_directories(self) -> FileDirectories:
        settings = self._settings
        # None is removed while a process has it.
        most = settings.worker_sql_timeout_seconds + settings.worker_duckdb_kept_seconds
        seconds = max(settings.worker_duckdb_files_seconds, most)
        return FileDirectories(self._place, seconds=seconds, least=most)

    def _check_database(self, path: str) -> None:
        """Refuse a file where other executions or the worker itself keep theirs."""
        if self._is_open:
            return
        file = Path(path)
        # A place that wasn't named has files of others, too.
        own = "" if self._settings.worker_script_directory else (PREFIX, _PREFIX)
        if file.is_relative_to(self._place) and (
            str(file.relative_to(self._place)).startswith(own)
        ):
            raise ToolError(
                "Configuration error", f"duckdb path `{path}` lies in a directory of the worker's"
            )

    def _config(self, process: DuckProcess, path: str | None) -> JsonObject:
        # Equal for all who open a file: within a process they share one instance.
        settings = self._settings
        memory = settings.worker_duckdb_memory_bytes
        config: JsonObject = {
            "memory_limit": f"{memory // 1000}KB",
            "threads": settings.worker_duckdb_threads,
            "max_temp_directory_size": f"{memory * _SPILL_FACTOR // 1000}KB",
            # Nothing is fetched that nobody asked for.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": self._is_open,
        }
        if settings.worker_duckdb_extension_directory:
            config["extension_directory"] = settings.worker_duckdb_extension_directory
        if path is None:
            # Otherwise in the working directory.
            config["temp_directory"] = process.directory
        return config

    def _give_back(self, key: _Key, process: DuckProcess) -> None:
        process.users -= 1
        if process.users or process.is_leaving:
            return
        process.idle_since = asyncio.get_running_loop().time()
        if key[0] is None:
            self._free.setdefault(key, []).append(process)
        idle = self._idle()
        if len(idle) > self._settings.worker_duckdb_kept:
            self._end(min(idle, key=lambda one: one.idle_since))
        self._watch_idle()

    def _idle(self) -> list[DuckProcess]:
        return [one for one in self._all if not one.users and not one.is_leaving]

    def _watch_idle(self) -> None:
        """Look again when the process that has been idle for the longest time is to end."""
        idle = self._idle()
        if self._ending is None and idle and not self._is_closed:
            first = min(one.idle_since for one in idle)
            self._ending = asyncio.get_running_loop().call_at(
                first + self._settings.worker_duckdb_kept_seconds, self._end_idle
            )

    def _end_idle(self) -> None:
        self._ending = None
        due = asyncio.get_running_loop().time() - self._settings.worker_duckdb_kept_seconds
        for process in self._idle():
            if process.idle_since <= due:
                self._end(process)
        self._watch_idle()

    def _end(self, process: DuckProcess) -> None:
        process.leave()
        self._offer_no_more(process)

    def _offer_no_more(self, process: DuckProcess) -> None:
        others = (
            (key, [one for one in free if one is not process]) for key, free in self._free.items()
        )
        self._free = {key: free for key, free in others if free}

    def _forget(self, process: DuckProcess) -> None:
        """Let others have the file of a process that has ended."""
        self._offer_no_more(process)
        self._files = {path: one for path, one in self._files.items() if one is not process}
        self._all.discard(process)


_SHARED: WeakValueDictionary[int, DuckDbs] = WeakValueDictionary()


def shared_databases(parts: ToolParts) -> DuckDbs:
    """Return the databases of a worker: its tools share the process that has a file open."""
    # The tools keep them, and they keep nothing of the parts but the settings.
    found = _SHARED.get(id(parts.settings))
    if found is None:
        found = _SHARED[id(parts.settings)] = DuckDbs(parts.settings)
    return found


def local_path(text: str, *, kind: str, base: str | None = None) -> str:
    """Return the path of a file: absolute as it is, else inside a directory.

    Args:
        text: as it was given.
        kind: what it is the path of, for an error.
        base: the directory; None: the working directory.

    Raises:
        ToolError: it leads out of the directory.
    """
    path = Path(text)
    if path.is_absolute():
        return text
    whose = "the worker's" if base is None else "the execution's"
    here = Path.cwd() if base is None else Path(base)
    inside = Path(os.path.normpath(here / path))
    if not inside.is_relative_to(here):
        raise ToolError(
            "Configuration error",
            f"{kind} path `{text}` leads out of {whose} directory; "
            "give an absolute path if that is meant",
        )
    return str(inside)


def _key(path: str | None, attach: list[JsonObject], directory: str | None) -> _Key:
    real = None if path is None else os.path.realpath(path)
    return real, any(one["is_server"] for one in attach), directory


def _environment(*, is_open: bool) -> dict[str, str]:
    """Return enough to find the system's things; all but our own where nothing is enforced."""
    if is_open:
        return {k: v for k, v in os.environ.items() if not k.startswith(_OWN_VARIABLES)}
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "HOME") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

"""Faults of a running stack: kills, freezes, broken wires, full disks, taken sessions."""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import asyncpg
import httpx
from mixed_load import Traffic
from noetl.stack.services import MODULES
from noetl_testkit.postgres import Database, running_postgres
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from wire import Break, Wire

SERVERS = ("nats", "postgres")
PROCESSES = (*MODULES, *SERVERS)
_END_SESSION = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
    AND (state = 'active' OR random() < 0.02)
    ORDER BY random() LIMIT 1
) AS chosen
"""


@dataclass
class World:
    """A running stack with its traffic, and the harm that is done to it.

    Attributes:
        chance: of all choices, seeded by `seed`.
        opened: holds what is opened until the end.
        leap: sets the database's clock so many seconds ahead, if it has one of its own.
        rounds: faults to inflict; None for as many as the scenario has.
        faults: a line for each that was inflicted.
        longest: seconds of the longest one.
    """

    stack: Stack
    traffic: Traffic
    chance: random.Random
    opened: AsyncExitStack
    seed: int = 0
    leap: Callable[[float], None] | None = None
    rounds: int | None = None
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0
    _own: dict[str, tuple[subprocess.Popen[bytes], int]] = field(default_factory=dict)

    def times(self, usual: int) -> range:
        """Return the rounds to go through."""
        return range(self.rounds or usual)

    async def pause(self, shortest: float, longest: float) -> None:
        """Let the traffic go on for a while."""
        await asyncio.sleep(self.chance.uniform(shortest, longest))

    def note(self, text: str, seconds: float = 0.0) -> None:
        """Count a fault of some length, and print it."""
        self.faults.append(text)
        self.longest = max(self.longest, seconds)
        accepted = len(self.traffic.starts.executions)
        print(f"  {time.strftime('%X')} {text}; accepted {accepted}", flush=True)

    def pids(self, service: str | None = None) -> dict[str, int]:
        """Return the processes by name, all or the copies of one service."""
        found = {n: one["pid"] for n, one in self.stack.services().items() if one["pid"]}
        found |= {name: process.pid for name, (process, _) in self._own.items()}
        return {
            name: pid
            for name, pid in found.items()
            if service is None or name == service or name.removeprefix(f"{service}-").isdigit()
        }

    def kill(
        self, *services: str, number: signal.Signals = signal.SIGKILL, all_of: bool = False
    ) -> None:
        """Send a signal to a random copy of each service, or to all of them."""
        for service in services:
            pids = list(self.pids(service).values())
            for pid in pids if all_of else self.chance.sample(pids, min(1, len(pids))):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    async def freeze(self, service: str, seconds: float) -> None:
        """Stop a random copy of a service; it then believes that no time has passed."""
        name, pid = self.chance.choice(list(self.pids(service).items()))
        group = [pid, *_children(pid)] if service == "postgres" else [pid]
        self.note(f"{name} frozen for {seconds:.1f} s", seconds)
        _send(group, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _send(group, signal.SIGCONT)

    def wipe(self) -> None:
        """Move the broker's store away, as the disk of a lost machine is."""
        store = next(path for path in self.stack.data.rglob("jetstream") if path.is_dir())
        store.rename(store.with_name(f"jetstream.wiped.{time.time_ns()}"))

    async def end_sessions(self, seconds: float) -> int:
        """End a random session of the database every few milliseconds; return how many."""
        connection = await asyncpg.connect(self.stack.dsn())
        hits, until = 0, time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                hits += await connection.fetchval(_END_SESSION)
                await asyncio.sleep(self.chance.uniform(0.005, 0.1))
        finally:
            await connection.close()
        return hits

    async def behind_wires(self, name: str, *servers: str) -> dict[str, Wire]:
        """Run a process of the stack anew, with wires between it and servers; return the wires."""
        wires, settings = {}, {}
        environment = _environment_of(self.pids()[name])
        for server in servers:
            wire = Wire(self.stack.services()[server]["port"])
            wires[server] = await self.opened.enter_async_context(wire)
            if server == "nats":
                address = environment["NOETL_NATS_URL"]
                settings["NOETL_NATS_URL"] = re.sub(r":\d+$", f":{wire.port}", address)
            else:
                settings["POSTGRES_PORT"] = str(wire.port)
        await self.restart_with(name, settings)
        return wires

    async def restart_with(
        self, name: str, settings: Mapping[str, str], *, is_ready: bool = True
    ) -> None:
        """Stop a process of the stack in good order, and run it anew with other settings.

        The supervisor is frozen from then on: it would start its own again.

        Args:
            name: of the process.
            settings: variables that win over those that it has.
            is_ready: whether to wait until it says that it is ready.
        """
        assert self.stack.process is not None
        port, pid = self.stack.services()[name]["port"], self.pids()[name]
        environment = {**_environment_of(pid), **settings}
        self.stack.process.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGTERM)
        await eventually(lambda: _has_ended(pid), what=f"{name} has stopped", every_seconds=0.05)
        module = next(MODULES[one] for one in MODULES if name.startswith(one))
        process = _start(module, environment, self.stack.data / "logs" / f"{name}-anew.log")
        self._own[name] = (process, port)
        if is_ready:
            await eventually(
                lambda: _answers(process, port),
                what=f"{name} is ready, run anew",
                every_seconds=0.1,
            )

    async def break_wire(self, what: str, wire: Wire, kind: Break, seconds: float) -> None:
        """Break a wire for a while."""
        self.note(f"{what}: {kind} for {seconds:.1f} s", seconds)
        await wire.break_for(kind, seconds)

    async def end(self) -> None:
        """End the processes behind wires, and let the supervisor go on."""
        for process, _ in self._own.values():
            process.send_signal(signal.SIGTERM)
        for process, _ in self._own.values():
            try:
                await asyncio.to_thread(process.wait, 30)
            except subprocess.TimeoutExpired:
                process.kill()
        if self.stack.process is not None and self.stack.process.poll() is None:
            self.stack.process.send_signal(signal.SIGCONT)


def _start(module: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _children(pid: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(place.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(place.parent.name))
    return found


def _has_ended(pid: int) -> bool:
    """Return whether a process has ended, though its parent may not know."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    return [one for child in _children(pid) for one in (child, *descendants(child))]


def _environment_of(pid: int) -> dict[str, str]:
    text = (Path("/proc") / str(pid) / "environ").read_bytes().decode()
    return dict(one.split("=", 1) for one in text.split("\0") if "=" in one)


async def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"it ended with {process.returncode}")
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


class NotProvenError(Exception):
    """Something that a scenario needs can't be had here; the text names it."""


def other_clock(seconds: float | None, *, file: Path | None = None) -> dict[str, str]:
    """Return the variables that give a process a clock so many seconds ahead.

    Args:
        seconds: ahead of ours.
        file: has them instead, and may be changed while the process runs.

    Raises:
        NotProvenError: there is no shim for it.
    """
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        raise NotProvenError("no shim gives a process another clock (Debian: libfaketime)")
    return {
        "LD_PRELOAD": str(found),
        "DONT_FAKE_MONOTONIC": "1",
        **({} if seconds is None else {"FAKETIME": f"{seconds:+.0f}s"}),
        **(
            {} if file is None else {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
        ),
    }


@contextmanager
def leaping_postgres(folder: Path) -> Iterator[tuple[Database, Callable[[float], None]]]:
    """Run a PostgreSQL whose clock can be set; yield its database and what sets it."""
    file = folder / "clock"

    def leap(seconds: float) -> None:
        # At once: a process that reads half of it ends.
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}s\n")
        fresh.chmod(0o644)
        fresh.replace(file)

    folder.chmod(0o755)
    leap(0.0)
    with (
        patch.dict(os.environ, other_clock(None, file=file)),
        running_postgres(folder / "own-postgres") as server,
    ):
        for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
            del os.environ[name]
        yield server.at("noetl"), leap


@dataclass
class SmallDisk:
    """A disk of memory, of some megabytes, below a folder."""

    folder: Path

    def mount(self, megabytes: int) -> None:
        """Mount it.

        Raises:
            NotProvenError: only root may, or not here.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        program = shutil.which("mount")
        if os.geteuid() != 0 or program is None:
            raise NotProvenError("only root can mount a small disk")
        done = subprocess.run(
            [program, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", self.folder],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        if done.returncode != 0:
            raise NotProvenError(f"no small disk can be mounted: {done.stderr.strip()}")

    def unmount(self) -> None:
        """Unmount it, if it is mounted."""
        subprocess.run(["umount", "-l", self.folder], check=False, capture_output=True)

    def fill(self) -> Path:
        """Take all room that is left; return the file that does."""
        file = self.folder / "filler"
        block = b"\0" * (1 << 16)
        with file.open("wb", buffering=0) as held, suppress(OSError):
            while held.write(block) == len(block):
                pass
        return file


type Strike = Callable[[World], Awaitable[None]]

__all__ = [
    "PROCESSES",
    "SERVERS",
    "NotProvenError",
    "SmallDisk",
    "Strike",
    "World",
    "descendants",
    "leaping_postgres",
    "other_clock",
]

"""One source of time, chance and ids for everything in the process; installed before all else."""

import asyncio
import datetime as dt
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

BEGAN = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC).timestamp()
"""Moment at which each simulated world begins, in Unix seconds."""

_REAL = {name: getattr(time, name) for name in ("monotonic", "time", "process_time")}
_PATCHED_AT_IMPORT = (
    "noetl_orchestrator",
    "noetl_common",
    "noetl_bus",
    "noetl_pg",
    "noetl_service",
    "noetl_worker",
    "noetl_outbox",
)
_RANDOM = random.Random(0)


_MOST_READS = 100_000


class Livelock(KeyboardInterrupt):
    """An iteration of a loop reads the clock again and again, and does not end.

    Of a class that asyncio lets through.
    """


def real_seconds() -> float:
    """Return the clock of the machine."""
    return float(_REAL["monotonic"]())


def install() -> None:
    """Let `time`, `os.urandom` and what is built on them follow the running simulated loop.

    Outside of one they follow the machine. Modules that take a function by name must be imported
    afterwards.
    """

    def asked(of_loop: Callable[[Any], float], real: Callable[[], float]) -> Callable[[], float]:
        def read() -> float:
            loop = asyncio._get_running_loop()
            if not hasattr(loop, "wall_clock"):
                return real()
            loop.reads += 1
            if loop.reads > _MOST_READS:
                raise Livelock(f"{loop.name} goes round and lets nothing else run")
            return of_loop(loop)

        return read

    time.monotonic = time.perf_counter = asked(lambda loop: loop.time(), _REAL["monotonic"])
    time.time = asked(lambda loop: loop.wall_clock(), _REAL["time"])
    time.time_ns = lambda: round(time.time() * 1e6) * 1000
    time.process_time = asked(lambda loop: loop.used_seconds, _REAL["process_time"])
    # Coroutines of killed processes are thrown away wherever they stand.
    sys.unraisablehook = lambda _told: None
    os.urandom = _RANDOM.randbytes  # type: ignore[assignment]
    random._urandom = _RANDOM.randbytes  # type: ignore[attr-defined]


def install_dates() -> None:
    """Let `datetime.now` of loaded modules of ours follow the simulated loop."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_PATCHED_AT_IMPORT) and (
            getattr(module, "datetime", None) is dt.datetime
        ):
            module.datetime = _Datetime  # type: ignore[attr-defined]


def seed(number: int) -> None:
    """Begin the sequence of chance of a world."""
    random.seed(number)
    _RANDOM.seed(number)


class _Kind(type):
    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, dt.datetime)


class _Datetime(dt.datetime, metaclass=_Kind):
    """A class of times whose ``now`` is the simulated one; it makes ordinary ones."""

    def __new__(cls, *fields: Any, **options: Any) -> Any:
        return dt.datetime(*fields, **options)  # noqa: DTZ001 -- its caller names the zone

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
        """Return the time of the running loop's process."""
        return dt.datetime.fromtimestamp(time.time(), tz)

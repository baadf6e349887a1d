"""Executions by the hundred: started over HTTP, their ends heard from the bus."""

import asyncio
import contextlib
import itertools
import re
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from noetl_contract.events import COMPLETED_TYPES, TERMINAL_TYPES
from noetl_contract.subjects import EVENTS_ROOT
from noetl_testkit.bus import flush
from noetl_testkit.stack import Stack

from benchmarks.probes.lean_http import LeanHttp

_LIMIT_SECONDS = 3600.0
_TYPE = re.compile(rb'"event_type": ?"([^"]+)"')


@dataclass
class Run:
    """Executions that ran.

    Attributes:
        ids: the executions.
        seconds: from the first start to the last end.
        spans: milliseconds from each start's request to the news of its end.
        answers: milliseconds of each start's request.
        failed: how many did not end as completed.
    """

    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    spans: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    failed: int = 0


class Load:
    """Starts executions of a stack and waits for their ends, many at once."""

    def __init__(self, stack: Stack, http: LeanHttp, connection: Client) -> None:
        self.stack = stack
        self.http = http
        self.connection = connection
        self._ends: dict[int, asyncio.Future[bool]] = {}

    async def hear(self) -> None:
        """Begin to listen to the ends."""
        await self.connection.subscribe(f"{EVENTS_ROOT}.>", cb=self._heard)
        await flush(self.connection)

    async def _heard(self, message: Msg) -> None:
        found = _TYPE.search(message.data)
        kind = found[1].decode() if found else ""
        if kind in TERMINAL_TYPES:
            end = self._end(int(message.subject.split(".")[4]))
            if not end.done():
                end.set_result(kind in COMPLETED_TYPES)

    def _end(self, execution_id: int) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        return self._ends.setdefault(execution_id, loop.create_future())

    async def start(self, path: str, **workload: object) -> int:
        """Start one execution and return its id."""
        answer = await self.http.post("/api/execute", {"path": path, "workload": workload})
        return int(str(answer["execution_id"]))

    async def end(self, execution_id: int, seconds: float = _LIMIT_SECONDS) -> bool:
        """Wait for the end of an execution; say whether it completed.

        Raises:
            TimeoutError: it has not ended in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._end(execution_id)
        except TimeoutError:
            raise TimeoutError(f"{execution_id} has not ended in {seconds:.0f} s") from None
        finally:
            self._ends.pop(execution_id, None)

    async def run(self, path: str, *, at_once: int, total: int, **workload: object) -> Run:
        """Run ``total`` executions, ``at_once`` of them at any time."""
        run = Run()
        left = itertools.repeat(None, total)

        async def chain() -> None:
            for _ in left:
                began = time.perf_counter()
                execution_id = await self.start(path, **workload)
                run.answers.append((time.perf_counter() - began) * 1000)
                run.ids.append(execution_id)
                run.failed += not await self.end(execution_id)
                run.spans.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(chain() for _ in range(at_once)))
        run.seconds = time.perf_counter() - began
        if run.failed:
            raise RuntimeError(f"{run.failed} of {total} executions of {path} did not complete")
        return run


@contextlib.asynccontextmanager
async def load_of(stack: Stack) -> AsyncIterator[Load]:
    """Open the connections that start and hear executions of a stack."""
    http = LeanHttp(stack.port, stack.admin_key())
    connection = await nats.connect(stack.values()["NOETL_NATS_URL"])
    try:
        load = Load(stack, http, connection)
        await load.hear()
        yield load
    finally:
        http.close()
        await connection.close()


def quantile(values: list[float], share: float) -> float:
    """Return the value below which a share of the sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def median(values: list[float]) -> float:
    """Return the middle value; not a number of none."""
    return statistics.median(values) if values else float("nan")

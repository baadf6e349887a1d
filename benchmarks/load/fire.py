"""Requests over many connections, by the compiled client where there is a compiler."""

import asyncio
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from load.compiled import compiled
from load.kept import Connection


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers of status 2xx, others, how long all took, and latencies in milliseconds."""

    good: int
    bad: int
    seconds: float
    p50: float
    p90: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds


def fire(url: str, requests: Sequence[bytes], *, connections: int, count: int = 0) -> Figures:
    """Send ``count`` requests in order, each once if it is 0, and wait for all answers."""
    count = count or len(requests)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    program = compiled("fire")
    if program is None:
        return asyncio.run(_fired(host, port, requests, connections, count))
    with tempfile.NamedTemporaryFile() as file:
        for one in requests:
            file.write(struct.pack("<I", len(one)) + one)
        file.flush()
        done = subprocess.run(
            [str(program), host, str(port), str(connections), str(count), file.name],
            stdout=subprocess.PIPE,
            check=True,
        )
    good, bad, seconds, *times = done.stdout.split()
    p50, p90, p99, longest = (int(one) / 1000 for one in times)
    return Figures(int(good), int(bad), float(seconds), p50, p90, p99, longest)


async def _fired(
    host: str, port: int, requests: Sequence[bytes], connections: int, count: int
) -> Figures:
    loop = asyncio.get_running_loop()
    numbers, times, bad = iter(range(count)), [], 0

    async def one() -> None:
        nonlocal bad
        _, connection = await loop.create_connection(Connection, host, port)
        for number in numbers:
            began = time.perf_counter()
            status, _ = await connection.ask(requests[number % len(requests)])
            times.append((time.perf_counter() - began) * 1000)
            bad += not 200 <= status < 300

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    seconds = time.perf_counter() - began
    times.sort()
    p50, p90, p99 = (times[int(count * part)] for part in (0.5, 0.9, 0.99))
    return Figures(count - bad, bad, seconds, p50, p90, p99, times[-1])

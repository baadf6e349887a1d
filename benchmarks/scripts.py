"""Cost of the start of a script, in one process, without the rest of the system.

Three ways of running one small script after another: each in an execution of its own (a process
each), all in one execution (a kept process), and each in an execution of its own with a pause
between them, as a worker that isn't busy sees them. ``cpu`` is that of all processes but our own,
their start included.
With ``--against DIR`` another checkout runs the same in turns, so that both have the same minutes:

    python benchmarks/scripts.py [--scripts 300] [--rounds 5] [--against ../base]
"""

import argparse
import asyncio
import inspect
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
from noetl_worker.interpreters import pool as pools

try:
    from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
except ImportError:  # an older checkout
    from noetl_worker.interpreters.process import InterpreterLimits, ScriptBox

_MEBIBYTE = 1 << 20
# As many as there are places for kept processes, so that the pool grows no more.
_WARM = 100
_CODE = "result = {'n': n + 1}"


def _job(execution: int) -> bytes:
    return orjson.dumps(
        {
            "code": _CODE,
            "name": "<start>",
            "args": {"n": execution},
            "execution_id": execution,
            "step": "start",
            "server_url": "",
        }
    )


def _opened_pool() -> Any:
    """Open a pool as a worker does by default."""
    limits: dict[str, Any] = {
        "memory_bytes": 1024 * _MEBIBYTE,
        "file_bytes": 1024 * _MEBIBYTE,
        "output_bytes": _MEBIBYTE,
        "result_bytes": 16 * _MEBIBYTE,
    }
    given: dict[str, Any] = {"executable": None, "size": 16, "warm": 2}
    limits["box"] = ScriptBox(write=("/tmp", "/dev/shm"))
    given |= {"size": 80, "keeping": pools.Keeping(most=64, seconds=5.0)}
    return pools.interpreter_pool(**given, limits=InterpreterLimits(**limits))


async def _measure(scripts: int) -> dict[str, float]:
    async with _opened_pool() as pool:
        has_executions = "execution" in inspect.signature(pool.run).parameters

        async def run(execution: int) -> None:
            own = {"execution": execution} if has_executions else {}
            ended = await pool.run(_job(execution), timeout=30, **own)
            if ended.value != {"n": execution + 1}:
                raise SystemExit(f"a script failed: {ended}")

        for number in range(_WARM):
            await run(number)
        found = {}
        for name, pause, is_one in (
            ("own", 0.0, False),
            ("paused", 0.02, False),
            ("same", 0.0, True),
        ):
            times = []
            for number in range(scripts):
                begun = time.perf_counter()
                await run(7 if is_one else 1000 + number)
                times.append(time.perf_counter() - begun)
                if pause:
                    await asyncio.sleep(pause)
            found[f"{name}_mean"] = statistics.fmean(times) * 1000
            found[f"{name}_p50"] = statistics.median(times) * 1000
        return found


def _one_round(scripts: int) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = asyncio.run(_measure(scripts))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found["cpu"] = used / (3 * scripts + _WARM) * 1000
    print(json.dumps(found))


def _round_in(checkout: Path, scripts: int) -> dict[str, float]:
    done = subprocess.run(
        [checkout / ".venv/bin/python", __file__, "--one", "--scripts", str(scripts)],
        capture_output=True,
        text=True,
        check=True,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print milliseconds a script, as a median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _one_round(given.scripts)
        return
    places = {"here": Path(sys.prefix).parent}
    if given.against is not None:
        places["there"] = given.against.resolve()
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in places}
    for _ in range(given.rounds):
        for name, place in places.items():
            rounds[name].append(_round_in(place, given.scripts))
    for figure in rounds["here"][0]:
        middle = {name: statistics.median(one[figure] for one in rounds[name]) for name in places}
        columns = "  ".join(f"{name} {value:6.2f} ms" for name, value in middle.items())
        more = f"  {middle['here'] - middle['there']:+.2f} ms" if "there" in middle else ""
        print(f"{figure:12} {columns}{more}")


if __name__ == "__main__":
    main()

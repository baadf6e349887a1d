"""The flow for DBOS and Absurd; runs in an environment of its own, without this repository.

``python python_flow.py dbos|absurd DSN AT_ONCE:FLOWS…`` prints a JSON line for each level.
"""

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

STEPS = 10
type Flow = Callable[[], Awaitable[object]]


async def measure(run_one: Flow, levels: list[tuple[int, int]]) -> None:
    """Print the figures of each level."""
    for _ in range(10):
        await run_one()
    for at_once, flows in levels:
        spans: list[float] = []
        left = itertools.repeat(None, flows)

        async def chain(left: itertools.repeat, spans: list[float]) -> None:
            for _ in left:
                began = time.perf_counter()
                await run_one()
                spans.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(chain(left, spans) for _ in range(at_once)))
        rate = flows * STEPS / (time.perf_counter() - began)
        level = {"at_once": at_once, "ms": statistics.median(spans) / STEPS, "rate": rate}
        print(json.dumps(level), flush=True)


async def dbos(dsn: str, levels: list[tuple[int, int]]) -> None:
    """Steps of a workflow, each checkpointed in the database by the workflow's own process."""
    from dbos import DBOS  # noqa: PLC0415  # ty: ignore

    DBOS(config={"name": "bench", "system_database_url": dsn, "log_level": "ERROR"})

    @DBOS.step()
    async def step(number: int) -> dict[str, int]:
        return {"n": number}

    @DBOS.workflow()
    async def flow() -> int:
        for number in range(STEPS):
            await step(number)
        return STEPS

    DBOS.launch()
    try:
        await measure(flow, levels)
    finally:
        DBOS.destroy()


async def absurd(dsn: str, levels: list[tuple[int, int]]) -> None:
    """Steps of a task, each checkpointed in the database by the worker that runs the task."""
    from absurd_sdk import AsyncAbsurd  # noqa: PLC0415  # ty: ignore

    most = max(at_once for at_once, _flows in levels)
    app = AsyncAbsurd(dsn, queue_name="bench")
    await app.create_queue("bench")
    ends: dict[str, asyncio.Future[None]] = {}

    @app.register_task(name="flow")
    async def flow(params: dict[str, str], ctx) -> None:  # noqa: ANN001 (the peer's own type)
        async def step() -> dict[str, int]:
            return {"n": 1}

        for number in range(STEPS):
            await ctx.step(f"s{number}", step)
        ends[params["key"]].set_result(None)

    keys = itertools.count()

    async def run_one() -> None:
        key = str(next(keys))
        ends[key] = asyncio.get_running_loop().create_future()
        await starter.spawn("flow", {"key": key}, queue="bench")
        await ends[key]
        del ends[key]

    starter = AsyncAbsurd(dsn, queue_name="bench")
    worker = asyncio.create_task(app.start_worker(concurrency=most, poll_interval=0.001))
    try:
        await measure(run_one, levels)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


if __name__ == "__main__":
    _which, _dsn, *_levels = sys.argv[1:]
    _pairs = [(int(one.split(":")[0]), int(one.split(":")[1])) for one in _levels]
    asyncio.run({"dbos": dbos, "absurd": absurd}[_which](_dsn, _pairs))

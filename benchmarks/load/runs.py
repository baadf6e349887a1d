"""Runs of ten steps in a row on whatever stack an address leads to."""

import asyncio
import statistics
import time

import httpx
from probes.step_times import step_times

STEPS = 10


def playbook(kind: str) -> str:
    """Return a linear playbook of ten steps of one kind."""
    tool = {
        "noop": "tool: {kind: noop}",
        "python": "tool: {kind: python, code: 'result = {\"n\": 1}'}",
    }[kind]
    steps = []
    for index in range(STEPS):
        name = "start" if index == 0 else f"step{index}"
        arc = f"\n    next: {{arcs: [{{step: step{index + 1}}}]}}" if index + 1 < STEPS else ""
        steps.append(f"  - step: {name}\n    {tool}{arc}")
    return (
        "apiVersion: noetl.io/v2\nkind: Playbook\n"
        f"metadata: {{name: bench_{kind}, path: bench/{kind}}}\nworkflow:\n"
        + "\n".join(steps)
        + "\n"
    )


async def run_many(url: str, dsn: str, path: str, *, at_once: int, total: int) -> dict[str, float]:
    """Run ``total`` executions, ``at_once`` of them at any time; wait by the event stream's end."""
    limits = httpx.Limits(max_connections=at_once + 4)
    ids: list[int] = []
    gate = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def one() -> None:
            async with gate:
                answer = await client.post("/api/execute", json={"path": path})
                answer.raise_for_status()
                execution_id = int(answer.json()["execution_id"])
                ids.append(execution_id)
                async with client.stream(
                    "GET", f"/api/executions/{execution_id}/events/stream"
                ) as stream:
                    async for _ in stream.aiter_raw():
                        pass

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(total)))
        elapsed = time.perf_counter() - began
    times = await step_times(dsn, ids)
    return {
        "p50": statistics.median(times),
        "p95": times[int(len(times) * 0.95)],
        "rate": total * STEPS / elapsed,
    }

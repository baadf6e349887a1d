"""What a step costs: a ten-step linear playbook, one after the other and many at once.

Run by hand: ``.venv/bin/python benchmarks/steps.py [--rounds N]``. It starts a stack of its
own for each worker transport and prints, beside each figure, the floor measured in the same
run on the same servers: one commit, one publish, one consume per step. Compare ratios of one
run; the machine decides the rest.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time

import asyncpg
import httpx
import nats
from nats.js.api import ConsumerConfig, StorageType, StreamConfig
from noetl_testkit import stack as e2e

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


async def floor(dsn: str, nats_url: str, *, at_once: int, rounds: int) -> tuple[float, float]:
    """Measure commit + publish + consume, alone per step.

    Returns:
        (median milliseconds of one, steps per second with ``at_once`` chains).
    """
    pool = await asyncpg.create_pool(dsn, min_size=at_once, max_size=at_once)
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    await js.add_stream(StreamConfig(name="bench", subjects=["bench.>"], storage=StorageType.FILE))
    await pool.execute("CREATE TABLE IF NOT EXISTS bench_log (id BIGSERIAL, body JSONB)")
    body = json.dumps({"text": "x" * 500})
    times: list[float] = []

    async def chain(number: int) -> None:
        consumer = await js.pull_subscribe(
            f"bench.{number}", durable=f"b{number}", stream="bench", config=ConsumerConfig()
        )
        for _ in range(rounds):
            began = time.perf_counter()
            await pool.execute("INSERT INTO bench_log (body) VALUES ($1)", body)
            await js.publish(f"bench.{number}", body.encode())
            (message,) = await consumer.fetch(1, timeout=5)
            await message.ack()
            times.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(chain(number) for number in range(at_once)))
    rate = at_once * rounds / (time.perf_counter() - began)
    await js.delete_stream("bench")
    await pool.execute("DROP TABLE bench_log")
    await pool.close()
    await connection.close()
    return statistics.median(times), rate


async def step_times(dsn: str, execution_ids: list[int]) -> list[float]:
    """Return the milliseconds from each ``command.issued`` to the next, by commit time."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT execution_id, extract(EPOCH FROM ingest_time)::float8 * 1000 AS at
        FROM noetl.event WHERE execution_id = ANY($1::bigint[])
          AND event_type IN ('command.issued', 'playbook.completed')
        ORDER BY execution_id, position
        """,
        execution_ids,
    )
    await connection.close()
    return [
        later["at"] - earlier["at"]
        for earlier, later in itertools.pairwise(rows)
        if earlier["execution_id"] == later["execution_id"]
    ]


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
    times = sorted(await step_times(dsn, ids))
    return {
        "p50": statistics.median(times),
        "p95": times[int(len(times) * 0.95)],
        "rate": total * STEPS / elapsed,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="executions a chain")
    parser.add_argument("--transports", default="nats,http")
    parser.add_argument("--kinds", default="noop,python")
    parser.add_argument("--at-once", default="1,16,64")
    options = parser.parse_args()
    print(
        f"{'transport':10}{'tool':8}{'at once':>8}{'p50 ms':>9}{'p95 ms':>9}{'steps/s':>9}"
        f"{'floor ms':>10}{'floor/s':>9}{'ratio':>7}"
    )
    for transport in options.transports.split(","):
        with e2e.running_stack(environment={"NOETL_WORKER_TRANSPORT": transport}) as running:
            values = running.values()
            dsn = running.dsn()
            with running.client() as client:
                for kind in ("noop", "python"):
                    e2e.register(client, playbook(kind))
            for kind in options.kinds.split(","):
                asyncio.run(run_many(running.url, dsn, f"bench/{kind}", at_once=4, total=8))
                for at_once in map(int, options.at_once.split(",")):
                    base, base_rate = asyncio.run(
                        floor(dsn, values["NOETL_NATS_URL"], at_once=at_once, rounds=50)
                    )
                    got = asyncio.run(
                        run_many(
                            running.url,
                            dsn,
                            f"bench/{kind}",
                            at_once=at_once,
                            total=at_once * options.rounds if at_once > 1 else options.rounds * 3,
                        )
                    )
                    ratio = base_rate / got["rate"]
                    print(
                        f"{transport:10}{kind:8}{at_once:8d}{got['p50']:9.2f}{got['p95']:9.2f}"
                        f"{got['rate']:9.0f}{base:10.2f}{base_rate:9.0f}{ratio:7.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

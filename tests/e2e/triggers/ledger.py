"""Facts for a proof of subscriptions: executions, dead letters, processes."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import nats
from noetl_testkit.stack import Stack

_STARTED = """
    SELECT context::TEXT AS context FROM noetl.event
    WHERE event_type = 'playbook_started' AND context::TEXT LIKE $1
"""
_REGISTERED = """
    SELECT execution_id FROM noetl.event
    WHERE position = 1 AND event_type = 'subscription.registered' AND node_name = $1
"""
_CHILDREN = "SELECT count(*) FROM noetl.execution_state WHERE parent_execution_id = ANY($1)"


class Ledger:
    """The executions of one subscription, counted over one connection."""

    def __init__(self, connection: "asyncpg.Connection", runner: asyncio.Runner, path: str) -> None:
        self._connection = connection
        self._runner = runner
        self._path = path
        self._parents: list[int] = []

    def count(self) -> int:
        """Return how many executions there are; cheap enough to ask again and again."""
        return self._runner.run(self._count())

    async def _count(self) -> int:
        if not self._parents:
            rows = await self._connection.fetch(_REGISTERED, self._path)
            self._parents = [row["execution_id"] for row in rows]
        return int(await self._connection.fetchval(_CHILDREN, self._parents))


@contextmanager
def open_ledger(stack: Stack, path: str) -> Iterator[Ledger]:
    """Open the ledger of a subscription for the length of the block."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(stack.dsn()))
        try:
            yield Ledger(connection, runner, path)
        finally:
            runner.run(connection.close())


def started(stack: Stack, path: str) -> Counter[int]:
    """Return how often each number was started by messages of a subscription."""

    async def ask() -> list[str]:
        connection = await asyncpg.connect(stack.dsn())
        try:
            rows = await connection.fetch(_STARTED, f'%"{path}"%')
        finally:
            await connection.close()
        return [row["context"] for row in rows]

    return Counter(int(json.loads(text)["workload"]["number"]) for text in asyncio.run(ask()))


def dead_letters(stack: Stack) -> Counter[int]:
    """Return how often each number is in our own stream of dead letters."""

    async def ask() -> Counter[int]:
        client = await nats.connect(stack.values()["NOETL_NATS_URL"])
        subscription = await client.jetstream().subscribe(
            "noetl_dead.subscriptions", ordered_consumer=True
        )
        found: Counter[int] = Counter()
        with contextlib.suppress(nats.errors.TimeoutError):
            while True:
                message = await subscription.next_msg(timeout=1)
                found[json.loads(message.data)["data"]["number"]] += 1
        await client.close()
        return found

    return asyncio.run(ask())


def memory_of(pid: int | None) -> int:
    """Return the MB that a process has in memory; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")]
    return int(sizes[0]) // 1024 if sizes else 0

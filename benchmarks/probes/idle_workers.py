"""Workers with nothing to do, by the thousand: registered, heard of, waiting for commands."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import orjson
from nats.aio.msg import Msg
from noetl_contract.streams import COMMANDS, pool_durable

from benchmarks.probes.load import Load

_HEARTBEAT_SECONDS = 15.0
# As our own worker asks for commands, and asks again.
_PULL_SECONDS = 30.0
_REGISTERING = 64


class IdleWorkers:
    """Load of so many idle workers of the pool ``shared``, from one process.

    Attributes:
        answers: how the bus answered their waiting for commands, by status; 408 is that
            none came in time, which is as it should be.
    """

    def __init__(self, load: Load, count: int) -> None:
        self._load = load
        self._names = [f"idle-{number}" for number in range(count)]
        self.answers: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Register them, and keep them for the length of the block."""
        left = iter(self._names)

        async def some() -> None:
            for name in left:
                body = {"name": name, "component_type": "worker_pool", "status": "ready"}
                more = {"runtime": {"instance": f"i-{name}"}, "labels": {"pool_name": "shared"}}
                await self._load.http.post("/api/worker/pool/register", body | more)

        await asyncio.gather(*(some() for _ in range(_REGISTERING)))
        tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._pull())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        """Spread the heartbeats evenly."""
        pause = _HEARTBEAT_SECONDS / max(1, len(self._names))
        loop = asyncio.get_running_loop()
        at = loop.time()
        while self._names:
            for name in self._names:
                at += pause
                await asyncio.sleep(max(0.0, at - loop.time()))
                await self._load.http.post("/api/worker/pool/heartbeat", {"name": name})

    async def _pull(self) -> None:
        """Keep one request for a command open for each worker."""
        durable = pool_durable("shared")
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS.name}.{durable.name}"
        request = orjson.dumps(
            {"batch": 1, "expires": int(_PULL_SECONDS * 1e9), "idle_heartbeat": int(1e9)}
        )
        bus = self._load.connection
        inbox = bus.new_inbox()

        async def answered(message: Msg) -> None:
            status = (message.headers or {}).get("Status", "a command")
            if status != "100":
                self.answers[status] += 1

        subscription = await bus.subscribe(f"{inbox}.*", cb=answered)
        pause = _PULL_SECONDS / max(1, len(self._names))
        try:
            while self._names:
                for number in range(len(self._names)):
                    await bus.publish(subject, request, reply=f"{inbox}.{number}")
                    await asyncio.sleep(pause)
        finally:
            await subscription.unsubscribe()

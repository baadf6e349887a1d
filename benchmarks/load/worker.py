"""Plays the existing pull worker with a tool that takes no time.

It looks its consumer up and pulls one message without waiting, claims it over HTTP at the address
of the notification, whose login all its calls carry, acknowledges, and only then pulls the next.
Behind the claim each run posts its three events one after the other, as many runs at once as there
are permits. Where nothing is to be had it sleeps for 100 ms.

    python -m load.worker NATS_URL SERVER_URL POOL PERMITS NAME

It runs until its input is closed, and then prints how many commands it has run, and the median
milliseconds of a claim and of an event.

Where there is a compiler ``worker.c`` plays it instead (`command`), and leaves the processors to
what is measured.
"""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import nats
import nats.js.errors
import orjson
import uvloop
from load.compiled import compiled
from load.kept import Pool, request
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig
from noetl_contract.streams import DurableSpec, pool_durable

_IDLE_SECONDS = 0.1
_EPOCH_MS = 1_704_067_200_000


class Worker:
    """One process of it."""

    def __init__(
        self,
        client: Client,
        inbox: Subscription,
        pool: Pool,
        *,
        durable: DurableSpec,
        permits: int,
        name: str,
    ) -> None:
        self._nats = client
        self._inbox = inbox
        self._pool = pool
        self._place = f"{durable.stream}.{durable.name}"
        self._permits = asyncio.Semaphore(permits)
        self._name = name
        self._node = (abs(hash(name)) & 0x3FF) << 12
        self._count = itertools.count(1)
        self._runs: set[asyncio.Task[None]] = set()
        self.done = 0
        self.claims: list[float] = []
        self.posts: list[float] = []

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._permits.acquire()
            claimed = await self._next()
            if claimed is None:
                self._permits.release()
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            run = asyncio.create_task(self._report(claimed))
            self._runs.add(run)
            run.add_done_callback(self._ended)

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._permits.release()
        run.result()

    async def _next(self) -> dict[str, Any] | None:
        """Pull and claim until a claim is granted; None when there is no message."""
        while True:
            await self._nats.request(f"$JS.API.CONSUMER.INFO.{self._place}", timeout=5)
            wanted = b'{"batch":1,"no_wait":true}'
            place = f"$JS.API.CONSUMER.MSG.NEXT.{self._place}"
            await self._nats.publish(place, wanted, reply=self._inbox.subject)
            message = await self._inbox.next_msg(timeout=10)
            if message.headers and "Status" in message.headers:
                return None
            note = orjson.loads(message.data)
            began = time.perf_counter()
            path = f"/api/commands/{note['event_id']}/claim"
            body = orjson.dumps({"worker_id": self._name})
            login = urlsplit(note["server_url"]).netloc.rpartition("@")[0]
            status, answer = await self._pool.ask(request("POST", path, body, login=login))
            self.claims.append((time.perf_counter() - began) * 1000)
            if status in {200, 409}:
                await self._nats.publish(message.reply, b"+ACK")
            else:
                await self._nats.publish(message.reply, b"-NAK")
            if status == 200:
                claimed: dict[str, Any] = orjson.loads(answer)
                return claimed | {"login": login}

    async def _report(self, claimed: dict[str, Any]) -> None:
        command = {"command_id": claimed["meta"]["command_id"]}
        result = {"status": "success", "context": {"status": "success", "data": {}}}
        ended = {**command, "status": "success"}
        await self._post(claimed, "command.started", "STARTED", command)
        done = {**command, "call_index": 0, "result": result}
        await self._post(claimed, "call.done", "COMPLETED", done)
        await self._post(claimed, "command.completed", "success", ended)
        self.done += 1

    async def _post(
        self, claimed: dict[str, Any], event_type: str, status: str, context: dict[str, Any]
    ) -> None:
        body = {
            "execution_id": claimed["execution_id"],
            "event_type": event_type,
            "step": claimed["node_name"],
            "status": status,
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "context": context,
            "event_id": self._event_id(),
            "worker_id": self._name,
            "meta": {"attempts": 0},
        }
        data = request("POST", "/api/events", orjson.dumps(body), login=claimed["login"])
        began = time.perf_counter()
        code, answer = await self._pool.ask(data)
        self.posts.append((time.perf_counter() - began) * 1000)
        if code != 200:
            raise RuntimeError(f"{event_type}: {code} {answer[:200]!r}")

    def _event_id(self) -> int:
        number = next(self._count)
        milliseconds = int(time.time() * 1000) - _EPOCH_MS
        return (milliseconds << 22) | self._node | (number & 0xFFF)


def command(nats_url: str, server_url: str, pool: str, *, permits: int, name: str) -> list[str]:
    """Return the command line that plays a worker."""
    program = compiled("worker")
    if program is None:
        values = (nats_url, server_url, pool, str(permits), name)
        return [sys.executable, "-m", "load.worker", *values]
    broker, server, durable = urlsplit(nats_url), urlsplit(server_url), pool_durable(pool)
    login = "" if broker.username is None else f"{broker.username}:{broker.password}"
    making = {"stream_name": durable.stream, "config": _config(durable).as_dict()}
    return [
        *(str(program), broker.hostname or "", str(broker.port or 4222), login),
        *(server.hostname or "", str(server.port or 80), durable.stream, durable.name),
        *(orjson.dumps(making).decode(), str(permits), name),
    ]


def _config(durable: DurableSpec) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=durable.name,
        filter_subject=durable.filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
    )


async def work(arguments: list[str]) -> None:
    """Work until the input is closed."""
    nats_url, server_url, pool, permits, name = arguments
    client = await nats.connect(nats_url)
    durable = pool_durable(pool)
    # Made by whoever comes first, as the original does.
    with contextlib.suppress(nats.js.errors.APIError):
        await client.jetstream().add_consumer(durable.stream, _config(durable))
    inbox = await client.subscribe(client.new_inbox())
    worker = Worker(
        client, inbox, Pool(server_url), durable=durable, permits=int(permits), name=name
    )
    running = asyncio.create_task(worker.run())
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([running, closed], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    claim = statistics.median(worker.claims or [0])
    post = statistics.median(worker.posts or [0])
    print(worker.done, f"{claim:.3f} {post:.3f}", flush=True)
    await asyncio.wait([running])
    await client.close()
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1:]))

"""Workers that speak the protocol and nothing else, each in a process that can be killed.

Such a process takes one command, runs its tool, reports the result, and then waits: for its
`command.completed` it would need another turn, before which it is killed.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import nats
import orjson
from nats.js.api import ConsumerConfig
from noetl_testkit.bus import flush

POOL = "standin"
_STREAM = "NOETL_COMMANDS"
_DURABLE = f"noetl_worker_pool_{POOL}"
_SECONDS = 30.0

type Report = Callable[[dict[str, Any], list[dict[str, Any]], str], Awaitable[None]]


@dataclass(frozen=True)
class StandIn:
    """Settings of a stand-in.

    Attributes:
        nats_url: address and login of the broker.
        runs: a file that gets a line for each run of a tool.
        over_http: whether it claims and reports over HTTP, or by message.
    """

    nats_url: str
    runs: Path
    over_http: bool

    async def work(self) -> None:
        """Take one command, run it, report."""
        client = await nats.connect(self.nats_url)
        js = client.jetstream()
        config = ConsumerConfig(ack_wait=30, max_ack_pending=1000)
        subject = f"noetl.commands.{POOL}.>"
        pull = await js.pull_subscribe(subject, durable=_DURABLE, stream=_STREAM, config=config)
        (message,) = await pull.fetch(1, timeout=_SECONDS)
        note = orjson.loads(message.data)
        if self.over_http:
            await self._over_http(note, message.ack)
        else:
            await self._by_message(note, message.ack, client)
        await flush(client)

    async def _over_http(self, note: dict[str, Any], ack: Callable[[], Awaitable[None]]) -> None:
        base = note["server_url"]
        name = f"standin-{os.getpid()}"
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            claim = await http.post(
                f"{base}/api/commands/{note['event_id']}/claim", json={"worker_id": name}
            )
            claim.raise_for_status()
            await ack()
            started, done = self._events(note, name)
            for event in (started, done):
                if event is done:
                    self._run(note)
                posted = {"execution_id": note["execution_id"], **event}
                (await http.post(f"{base}/api/events", json=posted)).raise_for_status()

    async def _by_message(
        self, note: dict[str, Any], ack: Callable[[], Awaitable[None]], client: Any
    ) -> None:
        name = f"standin-{os.getpid()}"
        started, done = self._events(note, name)
        await self._tell(client, note, name, "start", [started])
        await ack()
        self._run(note)
        await self._tell(client, note, name, "outcome", [started, done])

    async def _tell(
        self, client: Any, note: dict[str, Any], name: str, kind: str, events: list[dict[str, Any]]
    ) -> None:
        """Publish a message of the fast path, and wait for the answer to its commit."""
        secret = note["server_url"].partition("@")[0].rpartition(":")[2]
        hold = {
            "event_id": note["event_id"],
            "command_id": note["command_id"],
            "step": note["step"],
            "attempts": note["fast"]["attempts"],
            "worker_id": name,
            "instance": name,
            "fence": secret,
        }
        body = {
            "type": f"command.{kind}",
            "v": 1,
            "execution_id": note["execution_id"],
            "hold": hold,
            "events": events,
        }
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        subject = f"noetl_ingress.{note['fast']['shard']}.{note['execution_id']}.{kind}"
        headers = {"Nats-Msg-Id": f"{kind[0]}:{note['event_id']}:{name}", "Noetl-Reply": inbox}
        await client.publish(subject, orjson.dumps(body), headers=headers)
        answer = orjson.loads((await answers.next_msg(timeout=_SECONDS)).data)
        if answer.get("status") not in {"held", "ok"}:
            raise RuntimeError(f"{kind}: {answer}")

    def _events(self, note: dict[str, Any], name: str) -> list[dict[str, Any]]:
        about = {"command_id": note["command_id"]}
        result = {"status": "success", "context": {"status": "success", "data": {"by": name}}}
        kinds = [
            ("command.started", "STARTED", about),
            ("call.done", "COMPLETED", {**about, "call_index": 0, "result": result}),
        ]
        first = (time.time_ns() // 1_000_000 - 1_704_067_200_000) << 22 | os.getpid() % 1024 << 12
        return [
            {
                "event_type": event_type,
                "step": note["step"],
                "status": status,
                "context": context,
                "event_id": first + number,
                "worker_id": name,
                "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "meta": {"attempts": note["fast"]["attempts"]},
            }
            for number, (event_type, status, context) in enumerate(kinds)
        ]

    def _run(self, note: dict[str, Any]) -> None:
        with self.runs.open("a") as runs:
            runs.write(f"{note['execution_id']} {note['step']}\n")


def run_and_kill(stand_in: StandIn) -> None:
    """Run a stand-in in a process of its own, and kill that when its result is recorded.

    Raises:
        RuntimeError: it has recorded none.
    """
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        word = b"-"
        try:
            asyncio.run(stand_in.work())
            word = b"+"
        finally:
            os.write(tells, word)
            time.sleep(_SECONDS)
            os._exit(1)
    os.close(tells)
    word = os.read(told, 1)
    os.close(told)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if word != b"+":
        raise RuntimeError("the stand-in has recorded no result")

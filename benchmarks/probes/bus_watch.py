"""Messages on the bus, with the moment at which we heard of them."""

import time
from collections import defaultdict

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from noetl_contract.subjects import (
    COMMANDS_ROOT,
    INBOX_ROOT,
    INGRESS_ROOT,
    WRITES_ROOT,
)
from noetl_testkit.bus import flush

_ENDS = {"command.completed", "command.failed"}


class BusWatch:
    """Notes when outcomes and commands of executions pass.

    The commands of an execution are distinguished by their order, so one may be open at a time.

    Attributes:
        outcomes: seconds at which each outcome was sent, by execution.
        commands: seconds at which each command was published, or came with an answer.
    """

    def __init__(self) -> None:
        self.outcomes: dict[int, list[float]] = defaultdict(list)
        self.commands: dict[int, list[float]] = defaultdict(list)

    async def watch(self, connection: Client) -> None:
        """Begin to listen, as one more reader that the broker sends a copy to."""
        await connection.subscribe(f"{INGRESS_ROOT}.>", cb=self._on_ingress)
        await connection.subscribe(f"{WRITES_ROOT}.>", cb=self._on_ingress)
        await connection.subscribe(f"{COMMANDS_ROOT}.>", cb=self._on_command)
        await connection.subscribe(f"{INBOX_ROOT}.>", cb=self._on_answer)
        await flush(connection)

    async def _on_ingress(self, message: Msg) -> None:
        now = time.time()
        body = orjson.loads(message.data)
        if any(one.get("event_type") in _ENDS for one in body.get("events") or ()):
            self.outcomes[int(body["execution_id"])].append(now)

    async def _on_command(self, message: Msg) -> None:
        now = time.time()
        self.commands[int(message.subject.rpartition(".")[2])].append(now)

    async def _on_answer(self, message: Msg) -> None:
        now = time.time()
        if b'"next":' in message.data:
            body = orjson.loads(message.data)
            self.commands[int(body["next"]["execution_id"])].append(now)

"""A shard of executions as schedules see it: it takes starts and cancels, and reports statuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.rpc import handle, serve_rpc
from noetl_bus.topology import ensure_topology
from noetl_contract.ingress import REPLY_HEADER, CancelMessage, ExecuteMessage, decode_message
from noetl_contract.json import JsonObject
from noetl_contract.rpc import Refusal, RpcReply, encode_reply
from noetl_contract.rpc.projector import EXECUTIONS_STATES, ExecutionNames, ExecutionStates
from noetl_contract.streams import STREAMS, ingress_durable


@dataclass
class Shard:
    """Keeps the promise of W5: one execution for a key, one effect for an id.

    Attributes:
        executions: starts that were accepted, by id.
        statuses: of executions.
        messages: starts that arrived, repetitions included.
        silent: starts that get no answer although they are committed.
        mute: beginning of the keys whose starts never get one.
        refuses: the refusal that answers starts, if they are to be refused.
        is_away: whether status requests go unanswered.
    """

    bus: Bus
    executions: dict[int, ExecuteMessage] = field(default_factory=dict)
    statuses: dict[int, str] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    messages: list[ExecuteMessage] = field(default_factory=list)
    cancels: list[CancelMessage] = field(default_factory=list)
    silent: int = 0
    mute: str | None = None
    refuses: RpcReply | None = None
    is_away: bool = False

    @property
    def times(self) -> list[str]:
        """The `scheduled_at` of what was started, in order."""
        return [str(one.payload.get("at")) for one in self.executions.values()]

    def end(self, status: str = "COMPLETED") -> None:
        """End everything that runs."""
        for one, before in self.statuses.items():
            if before == "RUNNING":
                self.statuses[one] = status

    async def take(self, delivery: Delivery) -> None:
        """Take an ingress message."""
        message = decode_message(delivery.data)
        if isinstance(message, CancelMessage):
            self.cancels.append(message)
            self.statuses[message.execution_id] = "CANCELLED"
            reply = RpcReply.with_body({"status": "cancelled"})
        else:
            assert isinstance(message, ExecuteMessage)
            self.messages.append(message)
            reply = self.refuses or RpcReply.with_body(self._start(message))
            if self.mute is not None and (message.dedup_key or "").startswith(self.mute):
                return
            if self.silent:
                self.silent -= 1
                return
        await self.bus.reply(delivery.headers[REPLY_HEADER], encode_reply(reply))

    def _start(self, message: ExecuteMessage) -> JsonObject:
        known = self.keys.setdefault(message.dedup_key or "", message.execution_id)
        if known == message.execution_id and known not in self.executions:
            self.executions[known] = message
            self.statuses[known] = "RUNNING"
        status = "started" if known == message.execution_id else "duplicate"
        return {"execution_id": str(known), "status": status, "commands_generated": 1}

    async def tell(self, request: ExecutionNames) -> ExecutionStates | Refusal:
        """Answer what projectors answer."""
        if self.is_away:
            return Refusal(503, "away")
        known = {one: self.statuses[one] for one in request.execution_ids if one in self.statuses}
        return ExecutionStates(states={str(one): status for one, status in known.items()})


@asynccontextmanager
async def open_shard(bus: Bus) -> AsyncIterator[Shard]:
    """Serve a shard until the block ends."""
    shard = Shard(bus)
    durable = ingress_durable(0)
    await ensure_topology(bus, STREAMS, (durable,))
    async with serve_rpc(bus, [handle(EXECUTIONS_STATES, shard.tell)], queue="shard", shard=0):
        pulling = asyncio.create_task(
            run_pull_each(bus, durable, shard.take, permits=256, drain_seconds=0.1)
        )
        try:
            yield shard
        finally:
            pulling.cancel()
            await asyncio.wait({pulling})

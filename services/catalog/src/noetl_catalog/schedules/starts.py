"""Starts and cancels of executions that schedules send to the orchestrators."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable
from noetl_bus.writes.exchange import Exchange, NoAnswer, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_common.logging import get_logger
from noetl_contract.ingress import CancelMessage, ExecuteMessage, encode_message, kind_of
from noetl_contract.rpc import RpcReply, decode_reply
from noetl_contract.sharding import shard_for

_log = get_logger()
_COPY_AFTER_SECONDS = 1.5
"""Silence before a message is sent again; shorter than a killed orchestrator blocks redelivery."""


class Starts:
    """Sends messages and returns the orchestrator's answers.

    A message without an answer is sent again, here and by its caller, under the same execution
    id and key, which has one effect (W5).

    Args:
        bus: the connection.
        shard_count: shards of the cluster.
        at_once: messages that wait for their answer at once.
        seconds: wait for an answer.
        is_direct: see `Sender`.
    """

    def __init__(
        self, bus: Bus, *, shard_count: int, at_once: int, seconds: float, is_direct: bool = True
    ) -> None:
        self._inbox = bus.inbox()
        self._sender = Sender(bus, is_direct=is_direct)
        self._shard_count = shard_count
        self._places = asyncio.Semaphore(at_once)
        self._timeout = WriteTimeout(seconds=seconds)

    async def send(self, message: ExecuteMessage | CancelMessage) -> RpcReply | None:
        """Return the answer to a message; None when its outcome is unknown."""
        async with self._places:
            try:
                return await self._answered(message)
            except (NoAnswer, BusUnavailable) as error:
                _log.info(
                    "schedule_message_unanswered",
                    execution_id=message.execution_id,
                    kind=kind_of(message),
                    error=error.message,
                )
                return None

    async def _answered(self, message: ExecuteMessage | CancelMessage) -> RpcReply:
        execution_id = message.execution_id
        with Write(
            self._inbox,
            shard=shard_for(execution_id, shard_count=self._shard_count),
            execution_id=execution_id,
            kind=kind_of(message),
            body=encode_message(message),
        ) as write:
            exchange = Exchange(
                self._sender,
                write,
                self._timeout,
                deadline=asyncio.get_running_loop().time() + self._timeout.seconds,
                check_seconds=_COPY_AFTER_SECONDS,
                is_searched=False,
            )
            return decode_reply(await exchange.answer())

"""Starts and cancels of executions, sent to the orchestrators through the ingress stream."""

import asyncio
import secrets
from itertools import count

from noetl_common.bus.broker import Bus
from noetl_common.bus.errors import BusUnavailable
from noetl_common.clock import unix_ms
from noetl_common.logging import get_logger
from noetl_contract.ingress import (
    DEADLINE_HEADER,
    REPLY_HEADER,
    CancelMessage,
    ExecuteMessage,
    encode_message,
    kind_of,
)
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import ingress_subject

_log = get_logger()
_LATER = 503
_COPY_AFTER_SECONDS = 1.5
"""An orchestrator that is killed keeps what it had taken from the others for longer than this."""


class Starts:
    """Publishes to the ingress stream and returns the orchestrator's answers.

    A message without an answer is sent once more after a moment, and again by whoever asked for it,
    under the same execution id and key, which has one effect (W5).

    Args:
        bus: the connection.
        shard_count: shards of the cluster.
        at_once: messages that wait for their answer at once.
        seconds: wait for an answer.
    """

    def __init__(self, bus: Bus, *, shard_count: int, at_once: int, seconds: float) -> None:
        self._bus = bus
        self._inbox = bus.inbox()
        self._shard_count = shard_count
        self._places = asyncio.Semaphore(at_once)
        self._seconds = seconds
        self._prefix = f"schedule.{secrets.token_hex(8)}"
        self._attempts = count(1)

    async def send(self, message: ExecuteMessage | CancelMessage) -> RpcReply | None:
        """Return the answer to a message; None when it is not known what became of it."""
        async with self._places:
            try:
                return await self._answered(message)
            except BusUnavailable as error:
                _log.info(
                    "schedule_message_unanswered",
                    execution_id=message.execution_id,
                    kind=kind_of(message),
                    error=error.message,
                )
                return None

    async def _answered(self, message: ExecuteMessage | CancelMessage) -> RpcReply | None:
        execution_id = message.execution_id
        shard = shard_for(execution_id, shard_count=self._shard_count)
        deadline = unix_ms() + int(self._seconds * 1000)
        subject = ingress_subject(shard, execution_id=execution_id, kind=kind_of(message))
        body = encode_message(message)
        with self._inbox.expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject, DEADLINE_HEADER: str(deadline)}
            for pause in (min(_COPY_AFTER_SECONDS, self._seconds), self._seconds):
                await self._bus.publish(
                    subject,
                    body,
                    message_id=f"{self._prefix}.{next(self._attempts)}",
                    headers=headers,
                    seconds=self._seconds,
                )
                if (await asyncio.wait({waiter.answer}, timeout=pause))[0]:
                    break
            reply = RpcReply.model_validate_json(await waiter.wait(0))
        # Not now: a copy of the message may have been taken all the same.
        return None if reply.status == _LATER else reply

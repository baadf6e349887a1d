"""The fast path over HTTP: a start or an outcome is one call, whose answer comes after its commit.

A worker that may not publish to the ingress stream reports so with one round trip instead of three
or four. The edge puts the same message into the stream.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import count
from typing import NoReturn

import orjson
from noetl_common.errors import NoetlError, Permanent, Unavailable
from noetl_common.logging import get_logger
from noetl_contract.commands import CommandNotification

from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.channel import ClaimAnswer, Hear
from noetl_worker.transports.fast.message import Message

_log = get_logger()
_LATER = frozenset({408, 425, 429})
_AT_ONCE = 16

type Task = asyncio.Task[None]


class ReportRefused(Permanent):
    """The edge will never take a start or an outcome."""

    template = "the edge refused the report with status {status}: {answer}"


class EdgeChannel:
    """Posts starts and outcomes to the edge that their command names.

    A message is posted once at a time. A post that nobody waits for any more goes on to its end:
    to break it off would cost its connection, and the edge has it anyway.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._names = count(1)
        self._hearing: dict[str, Hear] = {}
        self._posting: dict[str, Task] = {}
        self._repeating = asyncio.Semaphore(_AT_ONCE)

    def open(self, message: Message, hear: Hear) -> str:  # noqa: ARG002 -- as others have it
        """Return a name for the answers to a message."""
        reply = str(next(self._names))
        self._hearing[reply] = hear
        return reply

    def forget(self, message: Message) -> None:
        """Hear no more answers to a message."""
        self._hearing.pop(message.reply, None)

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        """Post once and wait for the commit; the fence, not the id, makes it count once."""
        del message_id, seconds  # the edge holds the call until the commit
        posting = self._posting.get(message.reply)
        if posting is None:
            posting = self._in_background(message, self._post(message))
        await asyncio.shield(posting)
        return True

    def _in_background(self, message: Message, work: Coroutine[None, None, None]) -> Task:
        posting = self._posting[message.reply] = asyncio.create_task(work)

        def ended(task: Task) -> None:
            del self._posting[message.reply]
            if not task.cancelled():
                task.exception()  # told by who waits for it, if anybody does

        posting.add_done_callback(ended)
        return posting

    async def _post(self, message: Message) -> None:
        try:
            status, answer = await self._edge.call(
                "POST",
                f"/api/commands/{message.command.event_id}/reports",
                message.body,
                base=message.command.server_url or None,
            )
        except EdgeUnreachable as error:
            raise Unavailable(what=f"the edge ({error})") from error
        if status >= 300:
            _refuse(status, answer)
        self._tell(message, answer)

    def _tell(self, message: Message, answer: bytes) -> None:
        hear = self._hearing.get(message.reply)
        if hear is not None:
            hear(answer)

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Post some at a time, without waiting for them: one may take long."""
        for message, _ in messages:
            if message.reply not in self._posting:
                self._in_background(message, self._repeat(message))

    async def _repeat(self, message: Message) -> None:
        async with self._repeating:
            if message.reply not in self._hearing:
                return
            try:
                await self._post(message)
            except ReportRefused as error:
                _log.error("report_refused", event_id=message.command.event_id, error=error.message)
                self._tell(message, orjson.dumps({"status": 422}))
            except NoetlError as error:
                _log.info("repetition_not_stored", error=error.message)

    async def claim(
        self,
        note: CommandNotification,
        identity: Identity,
        *,
        known_workload: int,
        after_start: bool,  # noqa: ARG002 -- as others have it
        seconds: float,  # noqa: ARG002 -- the call has its own limit
    ) -> ClaimAnswer | None:
        """Claim at the edge that the notification names, as one process."""
        body = {
            "worker_id": identity.worker_id,
            "instance": identity.instance,
            "known_workload": known_workload,
        }
        try:
            return await self._edge.call_json(
                "POST", f"/api/commands/{note.event_id}/claim", body, base=note.server_url
            )
        except EdgeUnreachable as error:
            _log.info("claim_unanswered", event_id=note.event_id, error=str(error))
            return None


def _refuse(status: int, answer: bytes) -> NoReturn:
    """Raise what a refusal means.

    Raises:
        ReportRefused: the edge will never take it.
        Unavailable: later it may.
    """
    text = answer[:500].decode("utf-8", "replace")
    if 400 <= status < 500 and status not in _LATER:
        raise ReportRefused(status=status, answer=text)
    raise Unavailable(what=f"the edge (status {status}: {text})")

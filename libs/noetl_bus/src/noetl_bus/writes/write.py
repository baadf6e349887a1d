"""One write on its way, and its answers."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Self

from noetl_contract.ingress import AGAIN_HEADER, REPLY_HEADER
from noetl_contract.subjects import (
    UNSTORED_KINDS,
    URGENT_KINDS,
    WriteKind,
    ingress_subject,
    write_subject,
)

from noetl_bus.inbox import Inbox, Incoming, PartCollector


class Write:
    """A message to an execution, which its sender keeps until it is answered (W6).

    As a context manager it stops listening for answers at the end.

    Args:
        inbox: of the connection; answers come there.
        shard: of the execution.
        execution_id: of the execution.
        kind: of the message.
        body: the message, encoded.
        headers: travel with it.
        take: gets the body of each answer and calls `settle` once the write is done with; without
            it the answers wait for `next`.

    Attributes:
        subject: that it has in the ingress stream, or would have.
        requested: the subject on which it is requested of the owner of its execution.
        reply: subject of its answers.
        headers: travel with it wherever it goes.
        wish: headers that travel with it until its owner was asked in vain.
        on_late: called when the wait for an answer is over without one, before anything else can
            happen.
        is_requested: its owner is asked now.
        is_sent: a request has gone out.
        nobody_listens: the broker has told that no owner takes requests.
        is_doubtful: it may be committed; what is sent from then on is a repetition.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        shard: int,
        execution_id: int,
        kind: WriteKind,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> None:
        self.shard = shard
        self.kind: WriteKind = kind
        self.subject = ingress_subject(shard, execution_id=execution_id, kind=kind)
        self.requested = write_subject(shard, execution_id=execution_id, kind=kind)
        self.body = body
        self.reply = inbox.fresh_subject()
        self.headers = {REPLY_HEADER: self.reply, **(headers or {})}
        self.wish: Mapping[str, str] = {}
        self.on_late: Callable[[], None] | None = None
        self.is_requested = self.nobody_listens = self.is_sent = False
        self.is_doubtful = False
        self._inbox = inbox
        self._answers: deque[bytes] = deque()
        self._take = take or self._keep
        self._is_settled = False
        self._waiter: asyncio.Future[None] | None = None
        self._parts: PartCollector | None = None
        inbox.register(self.reply, self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear no more answers."""
        self._inbox.forget(self.reply)

    @property
    def is_stored(self) -> bool:
        """Whether the stream may have it."""
        return self.kind not in UNSTORED_KINDS

    @property
    def is_urgent(self) -> bool:
        """Whether it is requested at once, whatever became of others (W27, W33)."""
        return self.kind in URGENT_KINDS or not self.is_stored

    @property
    def is_settled(self) -> bool:
        """Whether it is done with, or an answer waits for `next`."""
        return self._is_settled

    def settle(self) -> None:
        """Note that it is done with, and wake who waits for that."""
        self._is_settled = True
        self._wake()

    def doubt(self) -> None:
        """Mark what is sent from now on as a repetition."""
        self.is_doubtful = True
        self.headers[AGAIN_HEADER] = "1"

    async def settled(self, seconds: float) -> bool:
        """Wait until it is done with; return whether it is.

        The wait ends without that when the time is over, and when nobody listens to a request.
        """
        if not (self._is_settled or (self.is_requested and self.nobody_listens)):
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            # A handle of the loop costs a third of a timeout's context.
            timer = loop.call_later(max(0.0, seconds), self._give_up)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._is_settled

    def take_next(self) -> bytes | None:
        """Return the next answer, if one has come."""
        if not self._answers:
            return None
        found = self._answers.popleft()
        self._is_settled = bool(self._answers)
        return found

    async def next(self, seconds: float) -> bytes | None:
        """Return the next answer; None when none comes in time, or nobody is there to answer."""
        await self.settled(seconds)
        return self.take_next()

    def _keep(self, body: bytes) -> None:
        self._answers.append(body)
        self.settle()

    def _hear(self, incoming: Incoming) -> None:
        if incoming.is_no_responders:
            if self.is_requested:
                self.nobody_listens = True
                self._wake()
            return
        body: bytes | None = incoming.data
        if PartCollector.is_part(incoming.headers):
            if self._parts is None:
                self._parts = PartCollector()
            body = self._parts.add(incoming.headers, incoming.data)
        if body is not None:
            self._take(body)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            if self.on_late is not None:
                self.on_late()
            self._waiter.set_result(None)

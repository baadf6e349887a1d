"""Answers of orchestrators to one write."""

import asyncio
from collections import deque
from typing import Self

import orjson
from noetl_common.bus.inbox import Inbox, Incoming, PartCollector
from noetl_common.bus.rpc.replies import unread_body
from noetl_contract.model import unchecked
from noetl_contract.rpc import RpcReply


class Answers:
    """All answers to one write: attempts may be answered several times, a 503 first.

    Args:
        inbox: of the connection.
        is_bare: they come without an envelope, as workers at the broker get them.
        is_passed_on: the body of a good one stays as it came, as bytes of JSON.

    Attributes:
        subject: where they come.
        nobody_listens: the broker has told that no orchestrator takes writes on the short way;
            nothing is waited for until somebody has looked at it and set it back.
    """

    __slots__ = (
        "_arrived",
        "_inbox",
        "_is_bare",
        "_is_passed_on",
        "_parts",
        "_waiting",
        "nobody_listens",
        "subject",
    )

    def __init__(self, inbox: Inbox, *, is_bare: bool, is_passed_on: bool) -> None:
        self._is_bare = is_bare
        self._is_passed_on = is_passed_on
        self.nobody_listens = False
        self.subject = inbox.fresh_subject()
        self._inbox = inbox
        self._waiting: deque[bytes] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._parts = PartCollector()

    def __enter__(self) -> Self:
        self._inbox.register(self.subject, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._inbox.forget(self.subject)

    def _take(self, incoming: Incoming) -> None:
        body: bytes | None = incoming.data
        if incoming.is_no_responders:
            self.nobody_listens = True
            self._wake()
            return
        if PartCollector.is_part(incoming.headers):
            body = self._parts.add(incoming.headers, incoming.data)
        if body is None:
            return
        self._waiting.append(body)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    @property
    def are_there(self) -> bool:
        """Whether one has come that nobody has taken yet."""
        return bool(self._waiting)

    async def next(self, seconds: float) -> RpcReply | None:
        """Return the next answer; None when none comes in time, or nobody is there to answer."""
        if not self._waiting and not self.nobody_listens:
            loop = asyncio.get_running_loop()
            self._arrived = loop.create_future()
            timer = loop.call_later(max(0.0, seconds), self._wake)
            try:
                await self._arrived
            finally:
                timer.cancel()
                self._arrived = None
        if not self._waiting:
            return None
        data = self._waiting.popleft()
        if self._is_bare:
            return _of_bare(data)
        unread = unread_body(data) if self._is_passed_on else None
        if unread is not None:
            return unchecked(RpcReply, status=200, body=unread)
        return RpcReply.model_validate_json(data)


def _of_bare(data: bytes) -> RpcReply:
    """Return the reply of a body alone; only a refusal comes with an envelope, a number in it."""
    body = orjson.loads(data)
    if isinstance(body, dict) and isinstance(body.get("status"), int):
        return RpcReply.model_validate(body)
    return RpcReply(status=200, body=body)

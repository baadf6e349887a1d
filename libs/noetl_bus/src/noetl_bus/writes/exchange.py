"""Sends one write until it is answered (W4-W7, W21).

What is never stored is requested until it is answered, whatever it says. For the others, while no
answer comes, the owner is asked once more, and the stream is searched from time to time. If it
still has the message, that waits its turn. If not, its store was wiped or the answer was lost on
the way: the same content goes out again as the next attempt.
"""

import asyncio
import secrets
from dataclasses import dataclass
from itertools import count

from noetl_common.clock import unix_ms
from noetl_common.errors import Unavailable
from noetl_common.logging import get_logger
from noetl_common.metrics import counter
from noetl_contract.hints import PubAck
from noetl_contract.ingress import DEADLINE_HEADER
from noetl_contract.model import Struct

from noetl_bus.errors import BusClosed, BusForbidden, BusUnavailable, StreamFull
from noetl_bus.writes.sender import ANSWER_SECONDS, Sender
from noetl_bus.writes.write import Write

_log = get_logger()

_PAUSE_SECONDS = 0.2
_PAUSE_AFTER_503_SECONDS = 1.0
_PUBLISH_SECONDS = 1.0
_LONGEST_SILENCE_SECONDS = 8.0
_ASK_SECONDS = 5.0
"""Wait for the answer to one request of what is never stored, which may be held back."""
_REPORTS = frozenset({"start", "outcome"})
_ATTEMPTS, _ATTEMPT_PREFIX = count(1), secrets.token_hex(8)
_WRITES = counter(
    "noetl_ingress_writes_total",
    "Writes that were answered: past the ingress stream, through it, or after another copy",
    ["way"],
    zeros=("short", "stream", "again"),
)
_PUBLISHED_AGAIN = counter(
    "noetl_ingress_published_again_total",
    "Messages published once more because the store had lost or answered them unheard",
)


class NoAnswer(Unavailable):
    """No answer within the timeout; the write may be committed yet."""

    template = "the write to {subject} was not answered in {seconds:g} s"


class NotSent(Unavailable):
    """The write was not and will not be accepted, because it can't be sent now."""

    template = "{reason}"


@dataclass(frozen=True, slots=True)
class WriteTimeout:
    """How long a write waits.

    Attributes:
        seconds: until the deadline that the message carries.
        linger_seconds: listening on after the deadline, for a commit just before it.
        early: refuse at once when sending is not possible now, instead of waiting (W7).
    """

    seconds: float
    linger_seconds: float = 0.0
    early: bool = False


class Exchange:
    """One write until its answer.

    Args:
        sender: sends it.
        write: keeps its answers for `Write.next`.
        timeout: how long.
        deadline: the end of the timeout's seconds by the clock of the event loop.
        check_seconds: silence after which the stream is searched for the message.
        is_searched: False where the login may not search: then it is sent once more.
        asks_first: False for what takes its owner longer than the answer is waited for.
    """

    def __init__(
        self,
        sender: Sender,
        write: Write,
        timeout: WriteTimeout,
        *,
        deadline: float,
        check_seconds: float,
        is_searched: bool = True,
        asks_first: bool = True,
    ) -> None:
        self._sender = sender
        self._write = write
        self._timeout = timeout
        self._deadline = deadline
        self._clock = asyncio.get_running_loop().time
        self._silence = check_seconds
        self._is_searched = is_searched
        # What people say is always requested at once: it must not wait behind others (W33).
        self._is_requested = asks_first and (sender.is_direct or write.is_urgent)
        self._way = "stream"
        # Until the stream has acknowledged a copy, it is the same attempt: one is enough.
        self._ack: PubAck | None = None
        self._message_id = ""

    async def answer(self) -> bytes:
        """Send the write, and return its answer.

        Raises:
            NoAnswer: none within the timeout.
            NotSent: it is an early one, which was not and will not be accepted.
            BusForbidden: it is a report of a worker, which the login may not send.
            PublishRefused, TooLarge: the broker will never take it.
            BusClosed: the connection is gone for good.
        """
        self._write.headers[DEADLINE_HEADER] = str(unix_ms() + int(self._left * 1000))
        while self._left > 0:
            # One may have come in a pause, or while the stream was searched.
            found = self._write.take_next() or await self._round()
            if found is None:
                continue
            if not (self._write.is_stored and _is_busy(found)):
                _WRITES.labels(self._way).inc()
                return found
            if not self._timeout.early:
                # A worker is slowed down, not refused (W7): its message goes out again.
                self._ack, self._message_id = None, ""
                await asyncio.sleep(max(0.0, min(_PAUSE_AFTER_503_SECONDS, self._left)))
        return await self._last_answer()

    @property
    def _left(self) -> float:
        return self._deadline - self._clock()

    async def _round(self) -> bytes | None:
        """Send the write where it has to go now, and return its next answer."""
        found = await self._request() if self._is_requested else None
        if found is not None:
            return found
        if self._write.is_stored and self._ack is None and self._left > 0:
            await self._spill()
        pause = _PAUSE_SECONDS if self._ack is None else self._silence
        found = await self._write.next(min(pause, self._left))
        if found is not None:
            self._way = "again" if self._write.is_doubtful else "stream"
            if self._write.is_stored:
                self._sender.note_taken()
        elif self._ack is not None:
            await self._search(self._ack)
        return found

    async def _request(self) -> bytes | None:
        """Ask the owner; None when the stream is to have the write, or it is to be asked again."""
        is_stored = self._write.is_stored
        self._is_requested = not is_stored
        if self._message_id:
            self._write.doubt()  # the stream may have a copy
        is_first = not self._write.is_doubtful
        seconds = min(ANSWER_SECONDS if is_stored else _ASK_SECONDS, self._left)
        if not await self._sender.request(self._write, seconds=seconds):
            return None
        self._way = "short" if is_first else "again"
        found = self._write.take_next()
        if found is None or not (is_stored and _is_busy(found)):
            return found
        self._write.doubt()
        return None

    async def _spill(self) -> None:
        if not self._sender.bus.is_connected:
            self._refuse_if_early("The message broker is not reachable")
            return
        if not self._message_id:
            self._message_id = f"{_ATTEMPT_PREFIX}.{next(_ATTEMPTS)}"
        try:
            seconds = min(_PUBLISH_SECONDS, self._left)
            self._ack = await self._sender.spill(
                self._write, message_id=self._message_id, seconds=seconds
            )
        except StreamFull:
            self._refuse_if_early("The ingress stream takes no more messages")
        except BusClosed:
            raise
        except BusForbidden as error:
            _log.warning("ingress_publish_failed", reason=error.message)
            if self._write.kind in _REPORTS:
                raise  # of users of the broker from before there were reports: others have a way
        except BusUnavailable as error:
            _log.warning("ingress_publish_failed", reason=error.message)
            self._write.doubt()
            # Where the stream takes others' writes the system is slow, and gets no more to do.
            self._is_requested = not self._sender.stores

    def _refuse_if_early(self, reason: str) -> None:
        # Once it may have been committed the deadline has to be waited for (W5).
        if self._timeout.early and not self._write.is_doubtful:
            raise NotSent(reason=reason)

    async def _search(self, ack: PubAck) -> None:
        """Have the write sent again if it is neither stored nor answered."""
        self._silence = min(self._silence * 2, _LONGEST_SILENCE_SECONDS)
        self._is_requested = not self._sender.is_read
        if self._is_searched:
            try:
                is_there = await self._sender.holds(ack, message_id=self._message_id)
            except BusUnavailable:
                return
            if is_there or self._write.is_settled:
                return
        _log.info("ingress_published_again", subject=self._write.subject)
        if self._is_searched:
            _PUBLISHED_AGAIN.inc()
        self._write.doubt()
        self._ack, self._message_id = None, ""

    async def _last_answer(self) -> bytes:
        """Listen on after the deadline.

        A 503 says that one copy of the message came too late. Another copy, or another delivery of
        the same one, may have been committed before, so it is no answer (W5).
        """
        until = self._clock() + self._timeout.linger_seconds
        while (found := await self._write.next(until - self._clock())) is not None:
            if not _is_busy(found):
                return found
        raise NoAnswer(subject=self._write.subject, seconds=self._timeout.seconds)


class _Status(Struct):
    status: int | str = 200


def _is_busy(answer: bytes) -> bool:
    """Return whether an answer says: not now."""
    if answer.startswith(b'{"status":2'):
        return False
    try:
        return _Status.from_json(answer).status == 503
    except ValueError:
        return False

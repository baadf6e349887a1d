"""One delivery of a stream's message, which is answered exactly once."""

from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from noetl_bus.inbox import Incoming

_ACK = b"+ACK"
_TERM = b"+TERM"
_V1_TOKENS = 9


class DeliveryOwner(Protocol):
    """The pull loop of a delivery."""

    def answer(self, delivery: "Delivery", word: bytes, *, final: bool) -> None:
        """Answer a delivery with one of JetStream's words."""

    async def move_to_dead_letters(self, delivery: "Delivery", reason: str) -> bool:
        """Copy a delivery to the dead-letter stream; return whether the copy is stored."""


class Delivery:
    """A delivery of a message to a durable.

    ``ack``, ``nak``, ``term`` and ``dead_letter`` are final: the first answer counts, and later
    answers do nothing. Answers are sent without waiting for the broker. If an answer is lost, the
    message is delivered again, which every handler has to expect anyway.
    """

    __slots__ = (
        "_answered",
        "_fields",
        "_owner",
        "data",
        "headers",
        "reply",
        "store",
        "subject",
        "touched",
    )

    def __init__(self, owner: DeliveryOwner, incoming: Incoming, *, store: str) -> None:
        self._owner = owner
        self._answered = False
        self._fields: tuple[int, int, str, int] | None = None
        self.subject = incoming.subject
        self.data = incoming.data
        self.headers = incoming.headers
        self.reply = incoming.reply
        self.store = store
        self.touched = monotonic()

    @property
    def is_answered(self) -> bool:
        """Whether the delivery has a final answer."""
        return self._answered

    @property
    def num_delivered(self) -> int:
        """Number of deliveries of the message, including this one."""
        return self._metadata()[0]

    @property
    def stream_sequence(self) -> int:
        """Sequence of the message in the stream."""
        return self._metadata()[1]

    @property
    def stored_at_ns(self) -> str:
        """Time at which the stream stored the message: Unix nanoseconds, in the broker's form."""
        return self._metadata()[2]

    @property
    def num_pending(self) -> int:
        """Number of messages of the durable that are not delivered yet."""
        return self._metadata()[3]

    def count_another(self) -> None:
        """Count one more delivery, because another consumer may already have done the work."""
        deliveries, sequence, stored_at, pending = self._metadata()
        self._fields = (deliveries + 1, sequence, stored_at, pending)

    async def ack(self) -> None:
        """Acknowledge the message: the work is done."""
        self.ack_nowait()

    def ack_nowait(self) -> None:
        """Acknowledge like ``ack``, for callers that can't await."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, _ACK, final=True)

    async def nak(self, delay: float | None = None) -> None:
        """Request another delivery, immediately or after ``delay`` seconds."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, nak_word(delay), final=True)

    async def term(self) -> None:
        """Reject further deliveries of the message."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, _TERM, final=True)

    async def dead_letter(self, reason: str) -> bool:
        """Move the message to the dead-letter stream, and return whether that succeeded.

        If the copy can't be stored, the message is delivered again later.
        """
        if self._answered:
            return True
        is_kept = await self._owner.move_to_dead_letters(self, reason)
        if is_kept:
            await self.term()
        else:
            await self.nak(1.0)
        return is_kept

    def _metadata(self) -> tuple[int, int, str, int]:
        if self._fields is None:
            tokens = self.reply.split(".")
            # With a JetStream domain, the subject has two more tokens after the prefix.
            start = 4 if len(tokens) == _V1_TOKENS else 6
            self._fields = (
                int(tokens[start]),
                int(tokens[start + 1]),
                tokens[start + 3],
                int(tokens[start + 4]),
            )
        return self._fields


def ack_all(deliveries: Iterable[Delivery]) -> None:
    """Acknowledge many deliveries without waiting."""
    for delivery in deliveries:
        delivery.ack_nowait()


def nak_word(delay: float | None) -> bytes:
    """Return the negative acknowledgement, with the delay if there is one."""
    return b'-NAK {"delay": %d}' % int(delay * 1e9) if delay else b"-NAK"

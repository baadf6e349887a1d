"""One delivered message of a stream, to be answered exactly once."""

from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from noetl_bus.inbox import Incoming

_ACK = b"+ACK"
_TERM = b"+TERM"
_V1_TOKENS = 9


class DeliveryOwner(Protocol):
    """The pull loop a delivery belongs to."""

    def answer(self, delivery: "Delivery", word: bytes, *, final: bool) -> None:
        """Send an acknowledgement of a delivery, one of JetStream's words."""

    async def bury(self, delivery: "Delivery", reason: str) -> bool:
        """Copy a delivery to the dead letters; return whether that worked."""


class Delivery:
    """A message as delivered to a durable.

    ``ack``, ``nak``, ``term`` and ``dead_letter`` are final: the first answer counts, later
    ones do nothing. Answers are sent without waiting for the broker: a lost answer means another
    delivery, which every handler has to expect anyway.
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
        """Number of deliveries of the message, this one included."""
        return self._metadata()[0]

    @property
    def stream_sequence(self) -> int:
        """Its sequence in the stream."""
        return self._metadata()[1]

    @property
    def stored_at_ns(self) -> str:
        """Time at which the stream stored it, in Unix nanoseconds, as the broker writes it."""
        return self._metadata()[2]

    @property
    def num_pending(self) -> int:
        """Number of messages of the durable that were not delivered to any consumer yet."""
        return self._metadata()[3]

    def count_another(self) -> None:
        """Count one more delivery: another consumer had it, and may have done the work."""
        deliveries, sequence, stored_at, pending = self._metadata()
        self._fields = (deliveries + 1, sequence, stored_at, pending)

    async def ack(self) -> None:
        """Acknowledge: the work is done."""
        self.ack_nowait()

    def ack_nowait(self) -> None:
        """Acknowledge, for callers that can't await."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, _ACK, final=True)

    async def nak(self, delay: float | None = None) -> None:
        """Ask for another delivery, after ``delay`` seconds or at once."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, nak_word(delay), final=True)

    async def term(self) -> None:
        """Ask for no other delivery."""
        if not self._answered:
            self._answered = True
            self._owner.answer(self, _TERM, final=True)

    async def dead_letter(self, reason: str) -> bool:
        """Copy the message to the dead letters with a reason, and ask for no other delivery.

        If the copy can't be stored the message is delivered again later. Returns whether it is.
        """
        if self._answered:
            return True
        is_kept = await self._owner.bury(self, reason)
        if is_kept:
            await self.term()
        else:
            await self.nak(1.0)
        return is_kept

    def _metadata(self) -> tuple[int, int, str, int]:
        if self._fields is None:
            tokens = self.reply.split(".")
            # With a JetStream domain two tokens come in after the prefix.
            start = 4 if len(tokens) == _V1_TOKENS else 6
            self._fields = (
                int(tokens[start]),
                int(tokens[start + 1]),
                tokens[start + 3],
                int(tokens[start + 4]),
            )
        return self._fields


def ack_all(deliveries: Iterable[Delivery]) -> None:
    """Acknowledge many deliveries; nothing is awaited."""
    for delivery in deliveries:
        delivery.ack_nowait()


def nak_word(delay: float | None) -> bytes:
    """Return the negative acknowledgement, with its delay in nanoseconds if there is one."""
    return b'-NAK {"delay": %d}' % int(delay * 1e9) if delay else b"-NAK"

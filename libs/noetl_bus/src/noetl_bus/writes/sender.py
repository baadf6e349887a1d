"""Sends writes to the owners of their executions, and spills what is not answered (W6, W21).

A write is kept until its answer has come: the broker's acknowledgement is not acceptance. So it
goes to its owner as a request first, and into the ingress stream only if no answer comes soon.
With ``NOETL_INGRESS=stream`` it goes into the stream first, where its length shows what waits.
Repetitions are harmless: positions and keys make the second time the same as the first.
"""

from collections import defaultdict
from time import monotonic

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import PubAck
from noetl_contract.streams import INGRESS
from noetl_contract.subjects import family

from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable, TopologyRefused
from noetl_bus.jetstream import get_message
from noetl_bus.writes.breaker import Breaker
from noetl_bus.writes.write import Write

_log = get_logger()

ANSWER_SECONDS = 0.5
"""Wait for the answer to a request before the stream gets the write."""
_SEARCH_SECONDS = 2.0
_LATELY_SECONDS = 1.0


class Sender:
    """Requests writes of their owners, and puts them into the ingress stream.

    Args:
        bus: the connection.
        is_direct: what goes into the stream is only what was requested in vain; else every write
            goes there first.
    """

    def __init__(self, bus: Bus, *, is_direct: bool = True) -> None:
        self.bus = bus
        self.is_direct = is_direct
        self._breakers: defaultdict[int, Breaker] = defaultdict(Breaker)
        self._stored_at = self._taken_at = float("-inf")

    @property
    def stores(self) -> bool:
        """Whether the stream has acknowledged a write in the last second."""
        return monotonic() - self._stored_at < _LATELY_SECONDS

    @property
    def is_read(self) -> bool:
        """Whether a write was answered in the last second that the stream had."""
        return monotonic() - self._taken_at < _LATELY_SECONDS

    def note_taken(self) -> None:
        """Note the answer to a write that the stream had."""
        self._taken_at = monotonic()

    async def request(self, write: Write, *, seconds: float) -> bool:
        """Send a write to the owner of its execution; return whether it is settled in time.

        One that is not may be committed all the same, unless nobody listened: what is sent from
        then on is a repetition. Nothing is sent for a while after others were not answered.
        """
        wish, write.wish = write.wish, {}  # also of what is not sent here
        breaker = Breaker() if write.is_urgent else self._breakers[write.shard]
        # A request that the login may not send would cost its timeout.
        is_allowed = family(write.requested) not in self.bus.forbidden
        if not (self.bus.is_connected and is_allowed and breaker.admits()):
            return False
        is_answered = None
        is_first = not write.is_doubtful
        write.is_requested = True
        try:
            write.nobody_listens = False
            await self.bus.send(
                write.requested, write.body, {**write.headers, **wish}, reply=write.reply
            )
            write.is_sent = True
            is_answered = await write.settled(seconds)
        except NoetlError as error:
            _log.info("write_not_requested", subject=write.subject, error=error.message)
        finally:
            write.is_requested = False
            # Also if sending failed after all: the answer may be there. That nobody listens is told
            # at once, and what was sent before may belong to an execution that takes its time.
            says_much = is_first and not write.nobody_listens
            breaker.note(is_answered=write.is_settled or (is_answered if says_much else None))
        if write.is_sent and not (write.is_settled or write.nobody_listens):
            write.doubt()
        return write.is_settled

    async def spill(self, write: Write, *, message_id: str, seconds: float) -> PubAck:
        """Put a write into the ingress stream, and return the stream's acknowledgement.

        Raises:
            BusUnavailable: no acknowledgement in time; it may be stored all the same.
            StreamFull: the stream refuses more.
            PublishRefused, TooLarge: it will never be stored.
        """
        headers = {**write.headers, **write.wish}
        ack = await self.bus.publish(
            write.subject, write.body, message_id=message_id, headers=headers, seconds=seconds
        )
        self._stored_at = monotonic()
        return ack

    async def holds(self, ack: PubAck, *, message_id: str) -> bool:
        """Return whether the stream still has a message that it has acknowledged.

        It has not when somebody took it, and when the store was lost; the sequence may then be
        that of another message.

        Raises:
            BusUnavailable: no answer.
        """
        try:
            message = await get_message(
                self.bus, INGRESS.name, ack.sequence, seconds=_SEARCH_SECONDS
            )
        except TopologyRefused as error:
            raise BusUnavailable(what=INGRESS.name, reason=error.message) from error
        return message is not None and message.message_id == message_id

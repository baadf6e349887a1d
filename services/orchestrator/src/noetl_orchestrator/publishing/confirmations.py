"""Rows of which several messages are to be stored: their acknowledgements come together here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from noetl_bus.broker import Bus
from noetl_bus.inbox import Incoming
from noetl_bus.publish import read_ack
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import PubAck

_log = get_logger()
_LATE_SECONDS = 5.0
_MOST_ROWS = 10_000


@dataclass(slots=True)
class _Row:
    told: str
    missing: int
    since: float
    last: PubAck | None = None


class Confirmations:
    """Confirmations of rows to the relay, each once the broker has stored all messages that count.

    With the last acknowledgement alone a message would be lost that came while its stream had no
    leader. Nobody waits: what is not complete after five seconds is left to the relay's sweep.

    Args:
        on_left: called with the number of rows that were left.
    """

    def __init__(self, bus: Bus, on_left: Callable[[int], None]) -> None:
        self._bus = bus
        self._on_left = on_left
        self._rows: dict[str, _Row] = {}

    def expect(self, count: int, *, told: str) -> str:
        """Return the reply subject of so many messages; the relay is notified on ``told`` then."""
        self._leave_late()
        reply = self._bus.answers.fresh_subject()
        self._rows[reply] = _Row(told, count, monotonic())
        self._bus.answers.register(reply, partial(self._take, reply))
        return reply

    def _take(self, reply: str, incoming: Incoming) -> None:
        row = self._rows[reply]
        try:
            ack = read_ack(incoming, row.told)
        except NoetlError as error:
            _log.warning("row_not_published", error=error.message)
            ack = None
        if ack is None:
            self._leave(reply)
            return
        row.missing -= 1
        # They are of one stream: as long as that has the last one, it has them all (O5).
        if row.last is None or ack.sequence > row.last.sequence:
            row.last = ack
        if not row.missing:
            self.forget(reply)
            self._bus.send_nowait(row.told, row.last.to_json())

    def _leave_late(self) -> None:
        late = monotonic() - _LATE_SECONDS
        while self._rows:
            oldest, row = next(iter(self._rows.items()))
            if row.since > late and len(self._rows) < _MOST_ROWS:
                return
            self._leave(oldest)

    def _leave(self, reply: str) -> None:
        self.forget(reply)
        self._on_left(1)

    def forget(self, reply: str) -> None:
        """Expect none any more."""
        self._rows.pop(reply, None)
        self._bus.answers.forget(reply)

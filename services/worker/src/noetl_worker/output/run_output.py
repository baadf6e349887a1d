"""Output of one run: its newest lines, and those still to be sent to watchers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from noetl_contract.http.workers.output import LONGEST_LINE, OutputStream
from noetl_contract.json import JsonObject

from noetl_worker.output.channels import OutputPlace
from noetl_worker.output.limits import Allowance, OutputLimits
from noetl_worker.output.splitting import Splitter
from noetl_worker.redaction import mask, scrub

_PAUSE_SECONDS = 0.1
_BATCH_BYTES = 8 << 10
_BATCH_LINES = 500
_LINE_BYTES = 32
"""Bytes that a line counts beside its text."""
_SHORTEST = 8
STREAMS: Final[tuple[OutputStream, OutputStream]] = ("stdout", "stderr")

type Hidden = Callable[[], Sequence[str]]
"""Returns the texts to mask, the longest first."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A line as it was read; secrets are masked when it is sent."""

    number: int
    stream: OutputStream
    time: float
    text: str

    @property
    def size(self) -> int:
        """Size that the line counts for, in bytes or so."""
        return len(self.text) + _LINE_BYTES


class Sending(Protocol):
    """Takes the lines of runs that are watched."""

    def is_watched(self, run: "RunOutput") -> bool:
        """Return whether the execution of a run is watched."""

    def send(self, run: "RunOutput", body: JsonObject) -> None:
        """Send a batch, or drop it. Never waits."""

    def has_printed(self, run: "RunOutput") -> None:
        """Note a run that has printed something, so that a new watcher gets it."""


class RunOutput:
    """The output of one run. Costs nothing until something is printed.

    Args:
        name: what each batch says of the run.
        place: of the run.
        sending: where lines go while somebody watches.
        limits: bounds.
        hidden: the texts to mask.
    """

    __slots__ = (
        "_allowance", "_hidden", "_is_closed", "_kept", "_kept_bytes", "_limits", "_number",
        "_pending", "_pending_bytes", "_sending", "_sent", "_splitters", "_timer", "_was_watched",
        "name", "place",
    )  # fmt: skip

    def __init__(
        self,
        name: JsonObject,
        *,
        place: OutputPlace,
        sending: Sending,
        limits: OutputLimits,
        hidden: Hidden,
    ) -> None:
        self.name = name
        self.place = place
        self._sending = sending
        self._limits = limits
        self._hidden = hidden
        self._splitters: dict[OutputStream, Splitter] = {}
        self._allowance: Allowance | None = None
        self._kept: deque[Printed] = deque()
        self._kept_bytes = 0
        self._pending: list[Printed] = []
        self._pending_bytes = 0
        self._number = 0
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._was_watched = False
        self._is_closed = False

    @property
    def has_lines(self) -> bool:
        """Whether anything was printed."""
        return self._number > 0

    def take(self, stream: OutputStream, data: bytes) -> None:
        """Take the bytes read of a stream. Always quick."""
        if self._is_closed or not data:
            return
        if self._allowance is None:
            self._allowance = Allowance(self._limits)
            self._sending.has_printed(self)
        splitter = self._splitters.setdefault(stream, Splitter())
        room = self._allowance.take(data)
        if room:
            self._note(stream, splitter.take(data[:room]))
        if room < len(data):
            self._number += splitter.skip(data[room:])
        self._send_soon()

    def show_all(self) -> None:
        """Send all lines that are kept: a watch begins."""
        self._was_watched = True
        self._pending = list(self._kept)
        self._flush(is_whole=True)

    def close(self) -> None:
        """Send the remaining lines; no more are taken after that."""
        if self._is_closed:
            return
        for stream, splitter in self._splitters.items():
            self._note(stream, splitter.finish())
        self._is_closed = True
        if self.has_lines and self._sending.is_watched(self):
            self._flush(is_over=True, is_whole=self._begins_to_be_watched())
        self._stop_timer()

    def tails(self, most: int) -> dict[str, str]:
        """Return the last lines of each stream that has some, in at most so many characters."""
        found: dict[str, str] = {}
        hidden = self._hidden_texts()
        for stream in STREAMS:
            lines: list[str] = []
            room = most
            for line in reversed(self._kept):
                if line.stream != stream:
                    continue
                text = _shown(line.text, hidden)
                room -= len(text) + 1
                if room < 0:
                    break
                lines.append(text)
            if lines:
                found[stream] = "\n".join([*reversed(lines), ""])
        return found

    def _note(self, stream: OutputStream, lines: Sequence[str | None]) -> None:
        now = datetime.now(UTC).timestamp()
        for text in lines:
            self._number += 1
            if text is None:
                continue
            line = Printed(self._number, stream, now, text)
            self._kept.append(line)
            self._kept_bytes += line.size
            self._pending.append(line)
            self._pending_bytes += line.size
        while self._kept_bytes > self._limits.kept_bytes and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popleft().size

    def _begins_to_be_watched(self) -> bool:
        """Return whether this is the first batch for watchers; it begins with the oldest line."""
        if self._was_watched:
            return False
        self._was_watched = True
        if self._kept and (not self._pending or self._kept[0].number < self._pending[0].number):
            self._pending = list(self._kept)
        return True

    def _send_soon(self) -> None:
        if not self._sending.is_watched(self):
            self._was_watched = False
            self._forget_pending()
        elif self._pending_bytes >= _BATCH_BYTES:
            self._flush(is_whole=self._begins_to_be_watched())
        elif self._timer is None and self._number > self._sent:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PAUSE_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if not self._is_closed and self._sending.is_watched(self):
            self._flush(is_whole=self._begins_to_be_watched())

    def _flush(self, *, is_whole: bool = False, is_over: bool = False) -> None:
        self._stop_timer()
        lines = self._pending
        self._forget_pending()
        hidden = self._hidden_texts()
        while True:
            part = _batch(lines)
            lines = lines[len(part) :]
            body: JsonObject = {
                **self.name,
                "lines": [_line(line, hidden) for line in part],
                "last": part[-1].number if lines else self._number,
            }
            if is_whole:
                body["is_whole"] = True
                is_whole = False
            if is_over and not lines:
                body["is_over"] = True
            self._sending.send(self, body)
            if not lines:
                break
        self._sent = self._number

    def _forget_pending(self) -> None:
        self._pending, self._pending_bytes = [], 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hidden_texts(self) -> Sequence[str]:
        """Return the texts to mask in single lines: of a secret with several also each of them."""
        hidden = self._hidden()
        parts = {
            line
            for text in hidden
            if "\n" in text
            for line in text.splitlines()
            if len(line) >= _SHORTEST
        }
        return sorted({*hidden, *parts}, key=len, reverse=True) if parts else hidden


def _batch(lines: Sequence[Printed]) -> list[Printed]:
    """Return the first lines, as many as one message takes."""
    part: list[Printed] = []
    room = 4 * _BATCH_BYTES
    for line in lines[:_BATCH_LINES]:
        room -= line.size
        if part and room < 0:
            break
        part.append(line)
    return part


def _line(line: Printed, hidden: Sequence[str]) -> JsonObject:
    moment = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    return {
        "number": line.number,
        "stream": line.stream,
        "time": f"{moment[:-6]}Z",
        "text": _shown(line.text, hidden),
    }


def _shown(text: str, hidden: Sequence[str]) -> str:
    """Return a line without secrets, and not too long."""
    text = str(scrub(mask(text, hidden)))
    over = len(text) - LONGEST_LINE
    return text if over <= 0 else f"{text[:LONGEST_LINE]}… {over} more characters"

"""The log lines of one execution, out of the logs of all processes, in the order of time.

Lines are read once and one by one. Each log is nearly in order by itself; what isn't, is put in
order as far as a window of lines reaches, so memory is bounded however long the logs are.
"""

import heapq
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

WINDOW = 10_000
"""Lines within which a log is put in order."""
LONGEST_LINE = 256 * 1024
"""Bytes of a line that are looked at."""

# Colours; and what Docker Compose 2.26 begins its lines with, to clear a terminal's line.
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# `docker compose logs` puts the name of the container before each line.
_CONTAINER = re.compile(r"\A([\w.-]+)\s+\| ?")
# Of our text format, of PostgreSQL, and of NATS, which writes slashes.
_TIME = re.compile(r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?")
_FIRST_TIME = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        time: as it is written, in UTC; sorts as text. That of the line before for one without.
        place: the process that wrote it.
        text: the line itself.
        fields: of a line in JSON; None for other lines.
    """

    time: str
    place: str
    text: str
    fields: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return the line as an object, also a line of plain text."""
        if self.fields is not None:
            return {**self.fields, "place": self.place}
        return {"ts": self.time or None, "place": self.place, "msg": self.text}


class Wanted:
    """Filter for the lines of an execution, or of one of its steps.

    A line belongs to an execution whose id it holds anywhere as a whole number: lines of the
    broker and the database name it in subjects and statements only.
    """

    def __init__(self, execution_id: str, step: str | None = None) -> None:
        self._id = execution_id
        self._whole = re.compile(rf"(?<!\d){re.escape(execution_id)}(?!\d)")
        self._step = step
        # As the text format writes it; and in the id of a command.
        self._named = step and re.compile(
            rf"\bstep={re.escape(step)}(?!\S)|(?<!\d){re.escape(execution_id)}:{re.escape(step)}:"
        )

    def __contains__(self, line: Line) -> bool:
        if self._id not in line.text or self._whole.search(line.text) is None:
            return False
        if self._named is None or self._named == "":
            return True
        if line.fields is not None and line.fields.get("step") == self._step:
            return True
        return self._named.search(line.text) is not None


def read_lines(lines: Iterable[str], place: str) -> Iterator[Line]:
    """Read the lines of a log, of one process or of containers."""
    time = _FIRST_TIME
    for raw in lines:
        text = _CONTROLS.sub("", raw[:LONGEST_LINE]).rstrip("\r\n")
        container = _CONTAINER.match(text)
        where = place
        if container is not None:
            where, text = container[1], text[container.end() :]
        fields = _fields(text)
        said = fields.get("ts") if fields is not None else None
        if not isinstance(said, str):
            found = _TIME.search(text[:64])
            said = found[0] if found else None
        time = time if said is None else said.replace(" ", "T", 1).replace("/", "-")
        yield Line(time, where, text, fields)


def in_order(logs: Iterable[Iterable[Line]], wanted: Wanted) -> Iterator[Line]:
    """Yield the wanted lines of several logs in the order of their times."""
    ordered = (_ordered(line for line in log if line in wanted) for log in logs)
    return heapq.merge(*ordered, key=lambda line: line.time)


def shown(line: Line, *, width: int) -> str:
    """Return a line for people: its time, its place, its message, its other fields."""
    if line.fields is None:
        return f"{line.place:<{width}} | {line.text}"
    fields = dict(line.fields)
    time, level, said = (str(fields.pop(name, "")) for name in ("ts", "level", "msg"))
    for name in ("service", "execution_id"):
        fields.pop(name, None)
    trace = fields.pop("exception", None)
    more = " ".join(f"{name}={_brief(value)}" for name, value in fields.items())
    head = f"{line.place:<{width}} | {time} {level:<7} {said} {more}".rstrip()
    return f"{head}\n{trace}" if trace else head


def _ordered(lines: Iterable[Line]) -> Iterator[Line]:
    waiting: list[tuple[str, int, Line]] = []
    number = count()
    for line in lines:
        heapq.heappush(waiting, (line.time, next(number), line))
        if len(waiting) > WINDOW:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _fields(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _brief(value: object) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    return json.dumps(value, default=str)

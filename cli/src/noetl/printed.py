"""Output of steps: live from the event stream, afterwards from the results in the log."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from noetl_client import AsyncClient, Client, ClientError, Connection
from noetl_contract.http.executions.reads import DetailEvent
from noetl_contract.http.workers.output import StepOutput
from noetl_contract.json import Json, JsonObject

_PAGE = 200
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

type Show = Callable[["PrintedLine"], None]


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """A line that a step has printed.

    Attributes:
        time: in UTC, as text; of a line out of a result when its run ended.
        stream: `stdout`, `stderr`, or `…` for the word that lines are missing.
    """

    time: str
    step: str
    stream: str
    text: str

    def as_json(self, execution_id: str) -> JsonObject:
        """Return it as an object, as a line of a log."""
        return {
            "ts": self.time,
            "place": "output",
            "execution_id": execution_id,
            "step": self.step,
            "stream": self.stream,
            "msg": self.text,
        }

    def __str__(self) -> str:
        """Return it for a terminal: time of the day, step, stream, text."""
        clock = self.time.partition("T")[2].rstrip("Z")[:12]
        return f"{clock} {self.step} {self.stream} | {harmless(self.text)}"


def harmless(text: str) -> str:
    """Return a text that can't move the cursor or change the title of a terminal."""
    plain = _COLOURS.sub("", text)
    return "".join(
        one if one.isprintable() or one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in plain
    )


class Printed:
    """Reads messages of a stream; after a reconnection each line still comes once."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, int], int] = {}
        self._time = ""

    def lines(self, message: StepOutput) -> Iterator[PrintedLine]:
        """Yield the new lines of a message."""
        run = (message.event_id, message.attempts)
        taken = self._taken.get(run, 0)
        lines = [line for line in message.lines if line.number > taken]
        if lines:
            missing = min(message.dropped, lines[0].number - taken - 1)
            self._taken[run] = lines[-1].number
            self._time = lines[0].time
        else:
            # With no line at all it is about those behind the last one.
            missing = 0 if message.lines else message.dropped
            self._taken[run] = taken + missing
        if missing:
            yield PrintedLine(self._time, message.step, "…", f"{missing} lines were left out")
        for line in lines:
            self._time = line.time
            yield PrintedLine(line.time, message.step, line.stream, line.text)


async def follow_printed(connection: Connection, execution_id: str, show: Show) -> None:
    """Show lines as they are printed, until the execution has ended.

    Refusals are none here: lines are for looking on. A server without them shows none.
    """
    printed = Printed()
    with suppress(ClientError):
        async with AsyncClient(connection) as client:
            async for message in client.output(execution_id):
                for line in printed.lines(message):
                    show(line)


def printed_before(client: Client, execution_id: str, step: str | None) -> list[PrintedLine]:
    """Return the output of steps that the log of an execution has, in order of time."""
    found = [
        line
        for kind in ("call.done", "call.error")
        for event in _events(client, execution_id, kind, step)
        for line in _lines_of(event)
    ]
    return sorted(found, key=lambda line: line.time)


def _events(
    client: Client, execution_id: str, kind: str, step: str | None
) -> Iterator[DetailEvent]:
    page = 1
    while True:
        answer = client.events(execution_id, event_type=kind, step=step, page=page, page_size=_PAGE)
        yield from answer.events
        if len(answer.events) < _PAGE:
            return
        page += 1


def _lines_of(event: DetailEvent) -> Iterator[PrintedLine]:
    said = _context_of(event.result)
    result = _context_of(said.get("result"))
    for stream in ("stdout", "stderr"):
        text = result.get(stream) or said.get(stream)
        if isinstance(text, str):
            for line in text.splitlines():
                yield PrintedLine(event.created_at, event.node_name or "", stream, line)


def _context_of(value: Json) -> JsonObject:
    context = value.get("context") if isinstance(value, dict) else None
    return context if isinstance(context, dict) else {}

"""Lines that steps have printed, out of the events that hold their results."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from noetl_contract.http.executions.reads import DetailEvent

MOST_LINES = 2000
"""Lines that one page shows, the newest."""


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """A line that a step has printed; its time is that at which its run ended."""

    time: str
    step: str
    stream: str
    text: str


def printed_texts(event: DetailEvent) -> Iterator[tuple[str, str]]:
    """Yield name and text of each stream of a step that has printed something."""
    said = _context_of(event.result)
    result = _context_of(said.get("result"))
    for stream in ("stdout", "stderr"):
        text = result.get(stream) or said.get(stream)
        if isinstance(text, str) and text:
            yield stream, text


def printed_lines(events: Iterable[DetailEvent]) -> list[PrintedLine]:
    """Return the newest lines that events hold, in order of time."""
    found = [
        PrintedLine(event.created_at, event.node_name or "", stream, line)
        for event in sorted(events, key=lambda one: one.created_at)
        for stream, text in printed_texts(event)
        for line in text.splitlines()
    ]
    return found[-MOST_LINES:]


def _context_of(value: Any) -> dict[str, Any]:
    context = value.get("context") if isinstance(value, dict) else None
    return context if isinstance(context, dict) else {}

"""State of an execution, for people: its first failure, soft errors, and why nothing moves."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noetl_contract.failures.cause import Cause, cause_of
from noetl_contract.json import Json, JsonObject

from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl.follow.edge import Edge

QUIET_SECONDS = 3.0
"""Seconds without an event after which the reason is shown."""
# These mean that all is well: a tool runs.
_AT_WORK = frozenset({"running", "claimed", "ended"})
_MOST_SHOWN = 3


def cause_lines(cause: Cause, place: str) -> Iterator[str]:
    """Yield the lines about a cause; ``place`` is the file, or the beginning of the lines."""
    where = place if cause.line is None else f"{place}:{cause.line}"
    sentence = cause.model_copy(update={"line": None}).sentence()
    first, *rest = sentence.splitlines() or [""]
    yield f"{where}: {first}"
    yield from (f"    {line}" for line in rest)


def soft_error_lines(standing: JsonObject, file: Path) -> Iterator[str]:
    """Yield the lines about soft errors; nothing where there are none."""
    count = standing.get("soft_errors")
    if not isinstance(count, int) or count < 1:
        return
    first = cause_of(standing.get("soft_error"))
    if first is not None:
        yield from cause_lines(first, str(file))
    plural = "" if count == 1 else "s"
    yield f"completed with {count} soft error{plural} (docs/failures.md)"


def execution_lines(execution_id: str, standing: JsonObject, why: Json) -> Iterator[str]:
    """Yield how an execution stands: its status, its first failure, and what it waits for."""
    is_over = standing["status"] != "RUNNING"
    paused = ", paused" if standing.get("paused") else ""
    step, spent = standing.get("current_step"), standing.get("duration_human")
    at = "" if is_over or not step else f" at step '{step}'"
    yield f"execution {execution_id}: {standing['status']}{paused}{at}, after {spent}"
    cause, error = cause_of(standing.get("cause")), standing.get("error")
    if cause is not None:
        yield from cause.sentence().splitlines()
    elif isinstance(error, str):
        yield from error.splitlines()
    soft = cause_of(standing.get("soft_error"))
    if soft is not None:
        yield f"{standing.get('soft_errors')} soft errors, first: {soft.sentence()}"
    for reason in reasons_in(why, all_of_them=True):
        yield reason.text


@dataclass(frozen=True, slots=True)
class Told:
    """One reason in the server's answer."""

    code: str
    step: str
    text: str


def reasons_in(answer: Json, *, all_of_them: bool = False) -> list[Told]:
    """Return the reasons of an answer; without those that a tool merely runs, unless asked for."""
    listed = answer.get("reasons") if isinstance(answer, dict) else None
    known_reasons = [
        Told(str(one.get("code")), str(one.get("step")), str(one.get("text")))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    return (
        known_reasons if all_of_them else [one for one in known_reasons if one.code not in _AT_WORK]
    )


class QuietWatch:
    """Shows why an execution stands still when nothing was heard of it for a while."""

    def __init__(
        self, edge: "Edge", say: Callable[[str], None], *, seconds: float = QUIET_SECONDS
    ) -> None:
        self._edge = edge
        self._say = say
        self._seconds = seconds
        self._moved = asyncio.Event()
        self._shown: set[tuple[str, str]] = set()

    def moved(self) -> None:
        """Note that something has happened."""
        self._moved.set()

    async def run(self, execution_id: str, title: str) -> None:
        """Ask after each quiet while, until cancelled; a reason is said once while it lasts."""
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._moved.wait()
            except TimeoutError:
                await self._ask(execution_id, title)
                continue
            self._moved.clear()
            if self._shown:
                self._shown = set()
                self._say(title)

    async def _ask(self, execution_id: str, title: str) -> None:
        try:
            reasons = reasons_in(await self._edge.why(execution_id))
        except StackError:
            return  # no answer at the moment: following goes on
        known = {(one.code, one.step) for one in reasons}
        if not known or known <= self._shown:
            return
        self._shown = known
        texts = "; ".join(one.text for one in reasons[:_MOST_SHOWN])
        more = len(reasons) - _MOST_SHOWN
        self._say(f"{title}: {texts}{f'; and {more} more' if more > 0 else ''}")

"""How an execution stands, in lines for people: what failed first, and soft errors."""

from collections.abc import Iterator
from pathlib import Path

from noetl_contract.failures.cause import Cause, cause_of
from noetl_contract.json import JsonObject


def cause_lines(cause: Cause, place: str) -> Iterator[str]:
    """Yield the lines about a cause; ``place`` is the file, or what the lines begin with."""
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

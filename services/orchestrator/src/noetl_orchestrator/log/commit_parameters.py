"""The arguments of `commit_turn` ($1, $2 …) by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from noetl_contract.json import Json

_TUPLES = {"snapshots": 3, "outbox": 8, "events": 18}


@dataclass(slots=True)
class CommitParameters:
    """The rows of ``commit_turn``, in its order; the driver writes dictionaries as JSON."""

    moves: list[Json] = field(default_factory=list)
    begins: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    posted: list[Json] = field(default_factory=list)
    commands: list[Json] = field(default_factory=list)
    changes: list[Json] = field(default_factory=list)
    timers: list[Json] = field(default_factory=list)
    timers_done: list[int] = field(default_factory=list)
    keys: list[Json] = field(default_factory=list)
    snapshots: list[tuple[Json, ...]] = field(default_factory=list)
    outbox: list[tuple[Json, ...]] = field(default_factory=list)
    events: list[tuple[Json, ...]] = field(default_factory=list)

    def arguments(self) -> list[object]:
        """Return the statement's arguments; it unnests the columns of some."""
        found: list[object] = []
        for one in fields(self):
            rows = getattr(self, one.name)
            width = _TUPLES.get(one.name)
            if width is None:
                found.append(rows)
            else:
                found += columns(rows, width)
        return found


def columns(rows: Sequence[tuple[object, ...]], count: int) -> list[tuple[object, ...]]:
    """Turn rows into columns, because statements unnest arrays."""
    return list(zip(*rows, strict=True)) if rows else [()] * count

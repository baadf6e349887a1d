"""The arguments of `commit_turn` ($1, $2 …) by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from noetl_contract.json import Json

_RARE = ("checks", "timers", "timers_done", "keys", "snapshots")
SHORTER_FORMS = {"commit_handed": (*_RARE, "begins", "outbox"), "commit_steps": _RARE}
"""Parts that shorter forms of the statement lack; none of them looks for posted ids either."""
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

    @property
    def shorter_form(self) -> str | None:
        """The shortest form of the statement that writes all of it, if there is a shorter one."""
        for name, left_out in SHORTER_FORMS.items():
            if not any(getattr(self, one) for one in left_out):
                return name
        return None

    def arguments(self, form: str | None = None) -> list[object]:
        """Return the arguments of the statement, or of a shorter form of it.

        Those of some rows are columns, which it unnests.
        """
        left_out = () if form is None else ("posted", *SHORTER_FORMS[form])
        found: list[object] = []
        for name in _NAMES:
            if name in left_out:
                continue
            rows = getattr(self, name)
            width = _TUPLES.get(name)
            if width is None:
                found.append(rows)
            else:
                found += columns(rows, width)
        return found


_NAMES = tuple(one.name for one in fields(CommitParameters))


def columns(rows: Sequence[tuple[object, ...]], count: int) -> list[tuple[object, ...]]:
    """Turn rows into columns, because statements unnest arrays."""
    return list(zip(*rows, strict=True)) if rows else [()] * count

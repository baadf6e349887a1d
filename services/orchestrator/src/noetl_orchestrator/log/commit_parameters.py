"""The arguments of `commit_turn` ($1, $2 …) by name."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from noetl_contract.json import Json

type Columns = tuple[Sequence[Json], ...]


@dataclass(frozen=True, slots=True)
class CommitParameters:
    """The parameters of ``commit_turn``, in its order; the driver writes rows as JSON."""

    moves: list[Json]
    begins: list[Json]
    checks: list[Json]
    posted: list[Json]
    commands: list[Json]
    changes: list[Json]
    ends: list[Json]
    timers: list[Json]
    timers_done: list[int]
    keys: list[Json]
    snapshot_ids: list[int]
    snapshot_positions: list[int]
    snapshots: list[bytes]
    outbox: Columns
    events: Columns

    def arguments(self) -> tuple[object, ...]:
        """Return the statement's arguments."""
        *tables, outbox, events = (getattr(self, one.name) for one in fields(self))
        return (*tables, *outbox, *events)

"""One thing that was given up, and the names by which commands know it."""

from dataclasses import asdict, dataclass
from datetime import datetime

from noetl_contract.json import Json, JsonObject

from noetl.stack.errors import StackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter, or a parked row of the outbox.

    Attributes:
        name: number in the stream, or `shard/number` of a row.
        subject: of the original; None for a row that never had one.
        execution_id: to which it belongs, if it names one.
        reason: why it was given up.
        tries: how often it was delivered, or published.
        first_at: when the original was stored; None where that wasn't noted.
        last_at: when it was given up.
        hindrance: why it can't be replayed; None when it can.
        body: what it says; None in lists.
    """

    name: str
    subject: str | None
    execution_id: int | None
    reason: str
    tries: int
    first_at: datetime | None
    last_at: datetime
    hindrance: str | None
    body: Json = None

    def as_json(self) -> JsonObject:
        """Return all of it under names, ids and times as texts."""
        return {
            **asdict(self),
            "execution_id": None if self.execution_id is None else str(self.execution_id),
            "first_at": self.first_at and self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Letters in the order of their numbers, and the name behind which the next page begins."""

    letters: list[Letter]
    after: str | None


def is_row(name: str) -> bool:
    """Return whether a name is that of a row of an outbox.

    Raises:
        StackError: it is no name at all.
    """
    shard, found, number = name.rpartition("/")
    if not number.isdecimal() or (found and not shard.isdecimal()):
        raise StackError(
            f"{name!r} names nothing that was given up: a dead letter has a number, a parked row "
            "a shard and a number (0/17)"
        )
    return bool(found)

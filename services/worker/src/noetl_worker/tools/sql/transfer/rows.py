"""Rows on their way from one place to another.

A value is what JSON has, or bytes; everything with a type of its own is text that every database
here reads.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from noetl_contract.json import Json

from noetl_worker.tools.tool import ToolError

type Batch = list[list[Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Columns and batches of a source."""

    columns: list[str]
    types: list[str]
    """The DuckDB type that would hold each column."""
    batches: AsyncIterator[Batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Mapping of source columns to target columns."""

    columns: list[str]
    """Names in the target."""
    types: list[str]
    positions: list[int]

    def apply(self, batch: Batch) -> Batch:
        """Return rows with the target's columns alone."""
        return [[row[position] for position in self.positions] for row in batch]


def planned(rows: Rows, mapping: Mapping[str, str]) -> Plan:
    """Return the plan: the mapping's columns, else all of the source.

    Raises:
        ToolError: the mapping names a column that the source doesn't have.
    """
    wanted: Mapping[str, str] = mapping or {name: name for name in rows.columns}
    positions: list[int] = []
    for target, source in wanted.items():
        position = _found(source, rows.columns)
        if position is None:
            raise ToolError(
                "Configuration error",
                f"the mapping of `{target}` names `{source}`, which the source doesn't have: "
                f"{', '.join(rows.columns)}",
            )
        positions.append(position)
    return Plan(
        columns=list(wanted),
        types=[rows.types[position] for position in positions],
        positions=positions,
    )


def _found(name: str, columns: Sequence[str]) -> int | None:
    """Return where a column is; without one of that name, one that differs in its case alone."""
    if name in columns:
        return columns.index(name)
    alike = [place for place, one in enumerate(columns) if one.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def chunked(rows: Sequence[list[Json]], size: int) -> list[Batch]:
    """Cut rows into batches."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]

"""Columns of tables that rows are written to."""

from collections.abc import Sequence

from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.names import quoted


def matched(name: str, known: Sequence[str], *, table: str) -> str:
    """Return a column by its name, whose case doesn't count; SQL would not look at that either.

    Raises:
        ToolError: there is none.
    """
    if name in known:
        return name
    for column in known:
        if column.lower() == name.lower():
            return column
    raise ToolError("Database error", f'column "{name}" of relation "{table}" does not exist')


def key_positions(names: list[str], key: list[str], *, table: str, mode: str) -> list[int]:
    """Return where the columns are by which rows are the same; none if that doesn't matter.

    Raises:
        ToolError: there is no key, or the rows haven't got it.
    """
    if mode != "upsert":
        return []
    if not key:
        raise ToolError(
            "Configuration error",
            f"upsert into `{table}`: it has no primary key and the target no `key`",
        )
    missing = [name for name in key if name not in names]
    if missing:
        raise ToolError(
            "Configuration error",
            f"upsert into `{table}`: the rows have no `{'`, `'.join(missing)}`",
        )
    return [names.index(name) for name in key]


def conflict(names: list[str], keys: list[int]) -> str:
    """Return the clause of an INSERT for rows that are there."""
    if not keys:
        return ""
    key = ", ".join(quoted(names[number]) for number in keys)
    rest = [quoted(name) for number, name in enumerate(names) if number not in keys]
    if not rest:
        return f" ON CONFLICT ({key}) DO NOTHING"
    return f" ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(
        f"{name} = EXCLUDED.{name}" for name in rest
    )

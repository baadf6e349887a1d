"""The tables of a shard, and the execution to which a row of each belongs."""

from collections.abc import Mapping, Sequence

from noetl_pg.database import Session

# By the expression that names a row's execution. Results come before the removals of their bodies:
# to delete a result notes its body for removal, which the next line takes back.
OWNED: Mapping[str, str] = {
    "event": "execution_id",
    "command": "execution_id",
    "execution_state": "execution_id",
    "execution_snapshot": "execution_id",
    "timer": "execution_id",
    "outbox": "execution_id",
    "child": "execution_id",
    "restart": "execution_id",
    "subscription": "subscription_id",
    "transient": "execution_id",
    "result_store": "execution_id",
    "result_body_removal": "substring(location FROM '([0-9]+)/[^/]*$')::BIGINT",
    "execution": "execution_id",
    "execution_step": "execution_id",
    "failure": "execution_id",
}
KEYS = "request_key"
"""Belongs to both: equal keys meet on the shard that the key names, wherever its execution is."""
NOT_DIVIDED = frozenset({"shard_identity", "execution_counter", "execution_day", KEYS})
"""Tables of each shard that are not divided; the rest of the tables are the cluster's."""


async def columns_of(session: Session, table: str) -> list[str]:
    """Return the columns of a table in their order."""
    return [row["name"] for row in await session.fetch("list_columns", table)]


def rows_of(table: str, columns: Sequence[str]) -> str:
    """Return the query for the rows of some executions, whose ids are its parameter."""
    listed = ", ".join(f'"{name}"' for name in columns)
    return f"SELECT {listed} FROM noetl.{table} WHERE {OWNED[table]} = ANY($1::BIGINT[])"


async def measure(
    session: Session, table: str, columns: Sequence[str], ids: Sequence[int]
) -> tuple[int, str]:
    """Return number and digest of the rows of some executions; their order is of no account."""
    (row,) = await session.fetch_text(
        "SELECT count(*) AS number, coalesce(sum(hashtextextended(t::TEXT, 0)), 0)::TEXT AS digest"
        f" FROM ({rows_of(table, columns)}) AS t",
        list(ids),
    )
    return row["number"], row["digest"]


async def ids_after(session: Session, after: int, *, limit: int) -> list[int]:
    """Return the next ids, in order, that any row belongs to."""
    parts = " UNION ".join(
        f"(SELECT DISTINCT {owner} AS id FROM noetl.{table} WHERE {owner} > $1 ORDER BY 1 LIMIT $2)"
        for table, owner in OWNED.items()
    )
    rows = await session.fetch_text(f"{parts} ORDER BY id LIMIT $2", after, limit)
    return [row["id"] for row in rows]


async def delete(session: Session, ids: Sequence[int]) -> None:
    """Delete all rows of some executions."""
    for table, owner in OWNED.items():
        await session.fetch_text(
            f"DELETE FROM noetl.{table} WHERE {owner} = ANY($1::BIGINT[])",
            list(ids),
        )

"""The tables that an archive has the rows of, and their columns."""

from noetl_pg.database import Session

ARCHIVED = (
    "event",
    "execution_state",
    "command",
    "child",
    "restart",
    "result_store",
    "execution",
    "execution_step",
    "failure",
)
"""All have the column `execution_id`. Other tables are of no use once an execution has ended."""
OWNER = "execution_id"


async def columns_of(session: Session, table: str) -> dict[str, str]:
    """Return the type of each column of a table."""
    return {row["name"]: row["type"] for row in await session.fetch("list_columns", table)}


def rows_of(table: str, columns: dict[str, str]) -> str:
    """Return the query for the rows of some executions, whose ids are its parameter."""
    listed = ", ".join(f'"{name}"' for name in columns)
    order = "execution_id, position" if table == "event" else "execution_id"
    return f"SELECT {listed} FROM noetl.{table} WHERE {OWNER} = ANY($1::BIGINT[]) ORDER BY {order}"

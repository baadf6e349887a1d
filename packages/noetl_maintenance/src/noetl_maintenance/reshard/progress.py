"""Progress of the copy into a new database, kept there and committed with each batch.

In the schema that closes the database, which goes when it is opened; no other statement knows it.
"""

from noetl_pg.database import Session

_LOWEST = -(1 << 63)


async def begin(session: Session) -> None:
    """Note that nothing is there yet."""
    await session.execute_text(
        "CREATE TABLE noetl_closed.progress AS"
        f" SELECT '{_LOWEST}'::BIGINT AS after, FALSE AS is_whole /* begin_progress */"
    )


async def read(session: Session) -> tuple[int, bool]:
    """Return the last execution of which all is there, and whether nothing is left to copy."""
    (row,) = await session.fetch_text(
        "SELECT p.after, p.is_whole FROM noetl_closed.progress AS p /* read_progress */"
    )
    return row["after"], row["is_whole"]


async def note(session: Session, after: int) -> None:
    """Note the last execution of which all is there."""
    await session.fetch_text(
        "UPDATE noetl_closed.progress SET after = $1::BIGINT /* note_progress */", after
    )


async def end(session: Session) -> None:
    """Note that nothing is left to copy."""
    await session.execute_text("UPDATE noetl_closed.progress SET is_whole = TRUE /* note_whole */")

"""Replaces the content of several databases so that a kill at any time leaves the old or the new.

Each database is closed for services and its old schemas get other names in one transaction, so
that in a closed one whatever has the usual name is half of something. The first database is closed
first and opened first of all, which is the moment at which the new content counts: what is found
later of an interrupted run is put back while the first is closed, and brought to its end when it
is open.
"""

from collections.abc import Iterable

from noetl.backup.parts import Parts, open_part, told
from noetl.stack.errors import StackError

WHAT = "a restore"
_SECONDS = 600.0


async def begin(parts: Parts, *, source: str, name: str) -> None:
    """Close the databases and put their schemas aside.

    Args:
        parts: none of them closed, and nobody connected.
        source: what comes in, for people.
        name: of the program, shown by the server.
    """
    reason = (
        f"{WHAT} of {source} has not ended; repeat it, or take it back with "
        "`noetl-server restore --undo`"
    )
    for part, address in parts.items():
        with told(part, address):
            async with (
                open_part(address, name=name, seconds=_SECONDS) as database,
                database.transaction() as session,
            ):
                await session.execute("close_database")
                await session.execute_text(await session.fetchval("write_reason", reason))
                for row in await session.fetch("write_put_aside"):
                    await session.execute_text(row["statement"])


async def end(parts: Parts, *, name: str) -> None:
    """Drop the content put aside and open the databases; the new content counts from now on."""
    for part, address in parts.items():
        with told(part, address):
            async with (
                open_part(address, name=name, seconds=_SECONDS) as database,
                database.transaction() as session,
            ):
                await session.execute("drop_shown_before")
                await session.execute("drop_schema_before")
                await session.execute("open_database")


async def settle(parts: Parts, *, name: str) -> str | None:
    """Bring an interrupted run to the end that it can have; no session may be connected.

    Returns:
        What was done: None when nothing was to do.

    Raises:
        StackError: a database is closed for another reason.
    """
    closed = [part for part in parts if await _is_closed(parts, part, name=name)]
    if not closed:
        return None
    if next(iter(parts)) in closed:
        await _put_back(parts, reversed(closed), name=name)
        return "each database holds again what it held before the restore that was interrupted"
    await end({part: parts[part] for part in closed}, name=name)
    return "the restore that was interrupted had put everything in its place; it is ended now"


async def _is_closed(parts: Parts, part: str, *, name: str) -> bool:
    address = parts[part]
    with told(part, address):
        async with open_part(address, name=name, seconds=_SECONDS) as database:
            reason = await database.fetchval("read_closed")
    if reason is not None and not reason.startswith(WHAT):
        raise StackError(f"{part} ({address!r}) is closed: {reason}")
    return reason is not None


async def _put_back(parts: Parts, closed: Iterable[str], *, name: str) -> None:
    for part in closed:
        address = parts[part]
        with told(part, address):
            async with (
                open_part(address, name=name, seconds=_SECONDS) as database,
                database.transaction() as session,
            ):
                await session.execute("drop_shown")
                await session.execute("drop_schema")
                for row in await session.fetch("write_put_back"):
                    await session.execute_text(row["statement"])
                await session.execute("open_database")

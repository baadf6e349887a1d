"""Who else is connected to a database that has to stand still."""

import asyncio

from noetl_common.pg.database import Statements

LEAVING_SECONDS = 15.0
"""How long sessions may take to end whose clients have ended: a server sees that a moment later,
and the session before ours may have been our own."""
_LOOK_SECONDS = 0.05


async def sessions_left(database: Statements) -> str | None:
    """Return who else is connected and stays so, for people; None for nobody.

    Args:
        database: one with the statement ``list_sessions``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEAVING_SECONDS
    while sessions := await database.fetch("list_sessions"):
        if loop.time() > deadline:
            return ", ".join(f"{row['number']} of {row['program']}" for row in sessions)
        await asyncio.sleep(_LOOK_SECONDS)
    return None

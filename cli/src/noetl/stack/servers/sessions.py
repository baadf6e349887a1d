"""Sessions of others at a database that has to stand still."""

import asyncio
from collections.abc import Awaitable, Callable

from noetl_pg.database import Statements

LEAVING_SECONDS = 15.0
"""Longest time until sessions end whose clients have ended: a server sees that a moment later,
and the session before ours may have been our own."""
_LOOK_SECONDS = 0.05
_OTHERS = """
SELECT coalesce(nullif(application_name, ''), usename, '?') AS program, count(*)::INTEGER AS number
FROM pg_stat_activity
WHERE
    datname = current_database()
    AND backend_type = 'client backend'
    AND pid != pg_backend_pid()
GROUP BY 1
ORDER BY 1
"""


async def last_answer[Answer](ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until nothing of sessions is left, as long as they may take to end.

    Args:
        ask: returns what is left of them, which is falsy if that is nothing.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEAVING_SECONDS
    while True:
        found = await ask()
        if not found or loop.time() > deadline:
            return found
        await asyncio.sleep(_LOOK_SECONDS)


async def sessions_left(database: Statements) -> str | None:
    """Return the other sessions that stay at a database, for people; None without any."""
    sessions = await last_answer(lambda: database.fetch_text(_OTHERS))
    return ", ".join(f"{row['number']} of {row['program']}" for row in sessions) or None

"""Cases of what our stores use of a pool; the simulated one and asyncpg's have to agree.

Run as a program it prints the results of the simulated one, whose server is a real one.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

if __name__ == "__main__":
    from tests.simulation import clocks

    clocks.install()

from noetl_common.errors import NoetlError
from noetl_pg.database import Database
from noetl_pg.pool import Pool

type Case = Callable[[Pool], Awaitable[Any]]

_TABLE = "CREATE TABLE IF NOT EXISTS noetl.tried (id INT PRIMARY KEY, body JSONB, at TIMESTAMPTZ)"


async def values_and_tags(pool: Pool) -> Any:
    """Rows, single rows, JSON as values, and the tags of statements."""
    database = Database(pool)
    await database.execute_text(_TABLE)
    tag = await database.execute_text("INSERT INTO noetl.tried VALUES (1, '{\"a\": [1]}')")
    rows = await database.fetch_text("SELECT id, body FROM noetl.tried WHERE id = $1", 1)
    none = await pool.fetchval("SELECT id FROM noetl.tried WHERE id = 99")
    await database.execute_text("DROP TABLE noetl.tried")
    return [tag, [[row["id"], row["body"]] for row in rows], none]


async def transactions(pool: Pool) -> Any:
    """A block is committed as a whole or not at all; so is a block inside of it."""
    database = Database(pool)
    await database.execute_text(_TABLE)
    async with database.transaction() as session:
        await session.execute_text("INSERT INTO noetl.tried VALUES (1)")
    try:
        async with database.transaction() as session:
            await session.execute_text("INSERT INTO noetl.tried VALUES (2)")
            raise ValueError  # noqa: TRY301 -- what the case is about
    except ValueError:
        pass
    async with database.acquire() as session, session.transaction():
        await session.execute_text("INSERT INTO noetl.tried VALUES (3)")
        try:
            async with session.transaction():
                await session.execute_text("INSERT INTO noetl.tried VALUES (4)")
                raise ValueError  # noqa: TRY301 -- what the case is about
        except ValueError:
            pass
    rows = await database.fetch_text("SELECT id FROM noetl.tried ORDER BY id")
    await database.execute_text("DROP TABLE noetl.tried")
    return [row["id"] for row in rows]


async def errors(pool: Pool) -> Any:
    """Refused values and taken keys are our errors, and the connection goes on."""
    database = Database(pool)
    await database.execute_text(_TABLE)
    found = []
    for statement in (
        "INSERT INTO noetl.tried VALUES (1), (1)",
        "INSERT INTO noetl.tried VALUES ('x'::TEXT::INT)",
        "SELECT 1",
    ):
        try:
            found.append(await database.execute_text(statement))
        except NoetlError as error:
            found.append(type(error).__name__)
    await database.execute_text("DROP TABLE noetl.tried")
    return found


async def one_after_the_other(pool: Pool) -> Any:
    """Two transactions that change one row both count."""
    database = Database(pool)
    await database.execute_text(_TABLE)
    await database.execute_text("INSERT INTO noetl.tried VALUES (1, '0')")

    async def count() -> None:
        async with database.transaction() as session:
            await session.execute_text("SELECT id FROM noetl.tried WHERE id = 1 FOR UPDATE")
            (row,) = await session.fetch_text("SELECT body FROM noetl.tried")
            await asyncio.sleep(0.01)
            await session.fetch_text("UPDATE noetl.tried SET body = $1::JSONB", row["body"] + 1)

    await asyncio.gather(*(count() for _ in range(3)))
    (row,) = await database.fetch_text("SELECT body FROM noetl.tried")
    await database.execute_text("DROP TABLE noetl.tried")
    return row["body"]


async def moments(pool: Pool) -> Any:
    """Time goes on between statements, and is one within a transaction's statement."""
    database = Database(pool)
    ask = "SELECT now() AS a, clock_timestamp() AS b, current_setting('timezone') AS zone"
    (first,) = await database.fetch_text(ask)
    await asyncio.sleep(0.05)
    (second,) = await database.fetch_text(ask)
    passed = (second["a"] - first["a"]).total_seconds()
    return [0.04 < passed < 60.0, first["b"] >= first["a"], first["zone"]]


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (values_and_tags, transactions, errors, one_after_the_other, moments)
}


def simulated() -> dict[str, Any]:
    """Return what the simulated pool does with all cases."""
    from tests.simulation import home  # noqa: PLC0415 -- after the clocks
    from tests.simulation.database import Pool as SimulatedPool  # noqa: PLC0415
    from tests.simulation.universe import Process, Universe  # noqa: PLC0415

    found: dict[str, Any] = {}
    with home.opened() as server:
        for number, (name, case) in enumerate(CASES.items()):
            universe = server.universe = Universe(number)
            process = Process(universe, name)

            async def run(case: Case = case, name: str = name) -> None:
                pool: Any = SimulatedPool(server, name, 4)
                found[name] = await case(pool)

            process.start(run)
            universe.run(600.0, lambda process=process: not process.is_alive)
            if name not in found:
                found[name] = [str(line) for line in universe.trace[-5:]]
    return found


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(simulated())}\n")

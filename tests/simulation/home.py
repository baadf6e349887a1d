"""The real PostgreSQL that all simulated worlds of a process use, one after the other."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from noetl.stack.servers import migrations
from noetl_testkit.postgres import Database, foreign_postgres, running_postgres

from tests.simulation import clocks
from tests.simulation.database import CLOCKS, Server


@contextmanager
def opened() -> Iterator[Server]:
    """Start a server, or use that of the environment, and migrate a database on virtual time."""
    foreign = foreign_postgres()
    if foreign is not None:
        with foreign.fresh() as database:
            yield from _used(database)
        return
    with (
        tempfile.TemporaryDirectory(prefix="noetl-simulation-") as folder,
        running_postgres(Path(folder) / "data") as server,
        server.fresh() as database,
    ):
        yield from _used(database)


def _used(database: Database) -> Iterator[Server]:
    began = datetime.fromtimestamp(clocks.BEGAN, UTC).isoformat()
    database.run(f"ALTER DATABASE \"{database.name}\" SET simulated.now = '{began}'")
    database.run(CLOCKS)
    database.run(
        f'ALTER DATABASE "{database.name}" SET search_path = simulated, pg_catalog, public'
    )
    migrations.migrate(database.dsn)
    database.run("ALTER SYSTEM SET autovacuum = off; ")
    server = Server(database)
    try:
        yield server
    finally:
        server.close()

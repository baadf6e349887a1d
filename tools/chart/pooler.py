"""PgBouncer between the services and PostgreSQL, in transaction mode, as Debian packages it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noetl.stack.process import free_port
from noetl_testkit.postgres import Database
from noetl_testkit.process import start
from noetl_testkit.waiting import wait_until

_ROLE = "pgbouncer"
_PASSWORD = "of-the-pooler"  # noqa: S105 (of a server that lives for a minute)
# Logins are asked of the server, so the pooler needs no list of passwords.
_LOOK_UP = f"""
CREATE ROLE {_ROLE} LOGIN PASSWORD '{_PASSWORD}';
CREATE SCHEMA {_ROLE} AUTHORIZATION {_ROLE};
CREATE FUNCTION {_ROLE}.login_of(wanted text) RETURNS TABLE (usename name, passwd text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS 'SELECT usename, passwd FROM pg_shadow WHERE usename = wanted';
REVOKE ALL ON FUNCTION {_ROLE}.login_of(text) FROM public;
GRANT EXECUTE ON FUNCTION {_ROLE}.login_of(text) TO {_ROLE};
"""
_NOBODY = "nobody"


class NoPoolerError(Exception):
    """PgBouncer is not installed."""


@dataclass(frozen=True)
class Pooler:
    """A running pooler."""

    port: int
    console: Database
    """Its own database, which answers `SHOW`."""

    def show(self, what: str) -> list[list[str]]:
        """Return the rows of a `SHOW` command."""
        text = self.console.run(f"SHOW {what}")
        return [line.split("|") for line in text.splitlines()]


@contextmanager
def running_pooler(
    folder: Path, database: Database, *, connections: int, prepared: int
) -> Iterator[Pooler]:
    """Run a pooler in front of a server during the block.

    Args:
        folder: for its files.
        database: any of the server's, with the login of a superuser.
        connections: most of them to the server, for each login and database.
        prepared: statements kept prepared for each; 0: none.

    Raises:
        NoPoolerError: it isn't installed.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise NoPoolerError("pgbouncer is not installed (Debian: apt install pgbouncer)")
    database.run(_LOOK_UP)
    folder.mkdir()
    port = free_port()
    (folder / "users.txt").write_text(f'"{_ROLE}" "{_PASSWORD}"\n')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users.txt",
        "auth_user": _ROLE,
        "auth_dbname": database.name,
        "auth_query": f"SELECT usename, passwd FROM {_ROLE}.login_of($1)",
        "pool_mode": "transaction",
        "default_pool_size": connections,
        "max_client_conn": 500,
        "max_prepared_statements": prepared,
        "stats_users": _ROLE,
        "server_tls_sslmode": "disable",
    }
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    place = f"* = host={database.host} port={database.port}\n"
    (folder / "pgbouncer.ini").write_text(
        "".join(["[databases]\n", place, "[pgbouncer]\n", *lines])
    )
    command = [program, str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        # It refuses to run as root.
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, _NOBODY)
        command = [program, "-u", _NOBODY, str(folder / "pgbouncer.ini")]
    process = start(command, log=folder.with_name("pgbouncer.log"))
    console = replace(database, port=port, user=_ROLE, password=_PASSWORD, name="pgbouncer")
    pooler = Pooler(port, console)
    try:
        wait_until(lambda: _answers(process, pooler), what="the pooler answers")
        yield pooler
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Between:
    """A pooler for the rehearsal of the chart, and its values.

    Attributes:
        connections: most of them to the server, for each login and database.
        prepared: statements that the pooler keeps prepared; 0: none.
        cache: prepared statements of a connection of a service.
        pooler: it, while it runs.
    """

    connections: int
    prepared: int
    cache: int
    pooler: Pooler | None = None

    @contextmanager
    def running(self, folder: Path, database: Database) -> Iterator[None]:
        """Run it in front of a server during the block."""
        with running_pooler(
            folder, database, connections=self.connections, prepared=self.prepared
        ) as self.pooler:
            yield

    def values(self, postgres: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values `postgres` with the pooler for services, the server for migrations."""
        shards = [self._place(shard) for shard in postgres["shards"]]
        return {**self._place(postgres), "shards": shards, "statementCache": self.cache}

    def _place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        direct = {"adminHost": given["host"], "adminPort": given["port"]}
        port = self.pooler.port if self.pooler else given["port"]
        return {**given, **direct, "port": port}


def _answers(process: subprocess.Popen[bytes], pooler: Pooler) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"pgbouncer ended with {process.returncode}")
    try:
        return bool(pooler.show("VERSION"))
    except RuntimeError:
        return False

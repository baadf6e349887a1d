"""Real PostgreSQL for tests."""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from noetl.stack.datadir import ROLE
from noetl.stack.process import free_port
from noetl.stack.servers import binaries, migrations
from noetl.stack.servers.identity import server_user
from noetl.stack.servers.postgres import FORGETFUL, PostgresInstance
from noetl_common.shards import DatabaseAddress
from noetl_contract.json import JsonObject

from noetl_testkit.process import start
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True, kw_only=True)
class Database:
    """Address of one database."""

    host: str
    port: int
    user: str
    password: str
    name: str

    @property
    def dsn(self) -> str:
        """The address as one line."""
        return self.address.dsn

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a service at it."""
        return self.address.environment

    @property
    def settings(self) -> JsonObject:
        """The fields of a service's settings that lead to it."""
        return {
            "postgres_host": self.host,
            "postgres_port": self.port,
            "postgres_user": self.user,
            "postgres_password": self.password,
            "postgres_db": self.name,
        }

    @property
    def address(self) -> DatabaseAddress:
        """The address as commands and shard maps take it."""
        return DatabaseAddress(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.name,
        )

    def run(self, sql: str) -> str:
        """Run statements and return the rows, one a line, columns separated by `|`."""
        done = subprocess.run(
            [str(binaries.postgres("psql")), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql],
            env={
                **os.environ,
                "PGHOST": self.host,
                "PGPORT": str(self.port),
                "PGUSER": self.user,
                "PGPASSWORD": self.password,
                "PGDATABASE": self.name,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()


class PostgresServer:
    """Server that makes databases for tests; its default database is its address."""

    def __init__(self, maintenance: Database) -> None:
        self.maintenance = maintenance

    def at(self, name: str) -> Database:
        """Address of a database of this server."""
        known = self.maintenance
        return Database(
            host=known.host, port=known.port, user=known.user, password=known.password, name=name
        )

    def create(self, template: str = "template0") -> Database:
        """Create a database with a name of its own, as a copy of another."""
        name = f"test_{secrets.token_hex(6)}"
        self.maintenance.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.at(name)

    def drop(self, database: Database) -> None:
        """Drop a database, with the sessions connected to it."""
        self.maintenance.run(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')

    @contextmanager
    def fresh(self, *, template: str = "template0") -> Iterator[Database]:
        """Create a database and drop it after the block."""
        database = self.create(template)
        try:
            yield database
        finally:
            self.drop(database)

    @contextmanager
    def migrated_template(self) -> Iterator[str]:
        """Return the name of a migrated database to clone from."""
        with self.fresh() as database:
            migrations.migrate(database.dsn)
            yield database.name


class OwnPostgresServer(PostgresServer):
    """A PostgreSQL server that a test may kill and restart."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.instance = PostgresInstance(
            directory=directory,
            port=free_port(),
            user=ROLE,
            password=copied_password(),
            durable=durable,
        )
        super().__init__(
            Database(
                host="127.0.0.1",
                port=self.instance.port,
                user=self.instance.user,
                password=self.instance.password,
                name="postgres",
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it is ready; retry a failed start as `up` does."""
        if not self.instance.directory.exists():
            copy_files(self.instance.directory)
        for attempts_left in reversed(range(5)):
            self.instance.prepare()
            log = self.instance.directory.with_name(self.instance.directory.name + ".log")
            process = start(self.instance.command(), log=log)
            wait_until(
                lambda: process.poll() is not None or self.instance.is_ready(process.pid),  # noqa: B023 -- called in this round only
                what="PostgreSQL is ready",
                every_seconds=0.005,
            )
            if process.poll() is None:
                self._process = process
                return
            if not attempts_left:
                raise RuntimeError(log.read_text()[-2000:])

    def stop(self) -> None:
        """Stop the server in good order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server process; its backends notice by themselves, which is waited for.

        One that has not noticed yet goes on answering.
        """
        if self._process is not None:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            self._end(signal.SIGKILL)
            wait_until(lambda: all(map(_is_gone, children)), what="the backends are gone")

    def restart(self) -> None:
        """Kills it and starts it again on the same port with the same data."""
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=PATIENCE_SECONDS)
            self._process = None


def _is_gone(pid: str) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"Z", "X"}


def copy_files(directory: Path) -> None:
    """Make the data directory of a new server whose superuser has the copied password.

    As a copy of one: it takes initdb half a second of a processor.
    """
    made, _ = _made_files()
    directory.parent.mkdir(parents=True, exist_ok=True)
    server_user().let_through(directory.parent, binaries.postgres("postgres"))
    copying = ["cp", "-a", "--sparse=always", str(made), str(directory)]
    subprocess.run(copying, check=True)


def copied_password() -> str:
    """Return the password of the superuser in the copied files."""
    _, password = _made_files()
    return password


def forget_on_power_cut(directory: Path) -> None:
    """Let the server of a data directory not wait for the disk, at any start."""
    lines = (f"{name} = {value}\n" for name, value in FORGETFUL.items())
    # Read after the configuration that is written at each start.
    (directory / "postgresql.auto.conf").write_text("".join(lines))


@cache
def _made_files() -> tuple[Path, str]:
    folder = Path(tempfile.mkdtemp(prefix="noetl-postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = PostgresInstance(
        directory=folder / "data",
        port=free_port(),
        user=ROLE,
        password=secrets.token_hex(8),
        durable=False,
    )
    made.prepare()
    return made.directory, made.password


@contextmanager
def running_postgres(directory: Path, *, durable: bool = False) -> Iterator[OwnPostgresServer]:
    """Run a server during the block."""
    server = OwnPostgresServer(directory, durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def foreign_postgres() -> PostgresServer | None:
    """Return the server named by the environment; its login must be allowed to create databases."""
    host = os.environ.get("POSTGRES_HOST")
    if not host:
        return None
    return PostgresServer(
        Database(
            host=host,
            port=int(os.environ.get("POSTGRES_PORT", "5432")),
            user=os.environ.get("POSTGRES_USER", "noetl"),
            password=os.environ.get("POSTGRES_PASSWORD", ""),
            name=os.environ.get("POSTGRES_DB", "postgres"),
        )
    )

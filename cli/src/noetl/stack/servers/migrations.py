"""Brings a database's schema up to date with dbmate."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from noetl.stack.errors import StackError
from noetl.stack.process import with_parent_death
from noetl.stack.servers import binaries

# Lives in our schema; dbmate makes the schema when it is missing.
MIGRATIONS_TABLE = "noetl.schema_migrations"

_LOCKED = "canceling statement due to lock timeout"
_PAUSES = (0.5, 1, 2, 4, 8, 16)


def folder() -> Path:
    """Return the folder of the migrations: in the installed package, or on top of the checkout."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "migrations", package.parents[2] / "migrations"):
        if candidate.is_dir():
            return candidate
    raise StackError("the migration files are missing: install the package noetl-server again")


def migrate(dsn: str, *, wait_seconds: int = 0) -> str:
    """Apply every pending migration; create the database if it is missing.

    Idempotent. Exactly one runner at a time: the one who starts the stack, or a job in a cluster.
    A migration that does not get a lock within its own short timeout, behind which writers queue
    up, gives way and is tried again for half a minute.

    Args:
        dsn: address of the database as a superuser or owner.
        wait_seconds: how long to wait for the server.

    Returns:
        What the runner said.

    Raises:
        StackError: a migration failed; the message holds its complaint.
    """
    for pause in _PAUSES:
        try:
            with start(dsn, wait_seconds=wait_seconds) as runner:
                return finish(runner)
        except StackError as error:
            if _LOCKED not in str(error):
                raise
        time.sleep(pause)
    with start(dsn, wait_seconds=wait_seconds) as runner:
        return finish(runner)


def create(dsn: str) -> None:
    """Create an empty database.

    Raises:
        StackError: it is there, or can't be created; the message holds the complaint.
    """
    with start(dsn, wait_seconds=0, command=("create",)) as runner:
        finish(runner)


def start(
    dsn: str,
    *,
    wait_seconds: int,
    is_ours: bool = False,
    command: Sequence[str] = ("up", "--strict"),
) -> subprocess.Popen[str]:
    """Start the migration runner.

    Args:
        dsn: as for `migrate`.
        wait_seconds: as for `migrate`.
        is_ours: to end when we say so or die, and not by a Ctrl-C on the terminal.
        command: what it shall do.
    """
    line = [
        str(binaries.dbmate()),
        f"--migrations-dir={folder()}",
        f"--migrations-table={MIGRATIONS_TABLE}",
        "--no-dump-schema",
        f"--wait-timeout={max(wait_seconds, 1)}s",
        *(["--wait"] if wait_seconds else []),
        *command,
    ]
    return subprocess.Popen(
        with_parent_death(line, signal_name="KILL") if is_ours else line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The address holds the password, so it travels in the environment, not in the arguments.
        env={**os.environ, "DATABASE_URL": with_tls(dsn), "PGAPPNAME": "noetl-server migrate"},
        start_new_session=is_ours,
    )


def with_tls(dsn: str) -> str:
    """Return an address with the runner's options for TLS, as the services have them."""
    # Here, because it reads the environment with a library that the supervisor can spare.
    from noetl_pg.settings import PostgresTls  # noqa: PLC0415 -- see above
    from noetl_pg.tls import ssl_mode  # noqa: PLC0415 -- see above

    settings = PostgresTls()
    mode = ssl_mode(urlsplit(dsn).hostname or "", settings.postgres_sslmode)
    # The runner knows no "if it is there"; on this machine nobody listens in.
    options: dict[str, str] = {"sslmode": "disable" if mode in {"allow", "prefer"} else mode}
    if mode != "disable":
        options |= {
            "sslrootcert": settings.postgres_sslrootcert,
            "sslcert": settings.postgres_sslcert,
            "sslkey": settings.postgres_sslkey,
        }
    query = urlencode({name: value for name, value in options.items() if value})
    return f"{dsn}{'&' if '?' in dsn else '?'}{query}"


def finish(runner: subprocess.Popen[str]) -> str:
    """Wait for the runner and return its output.

    Raises:
        StackError: it failed.
    """
    out, complaint = runner.communicate()
    if runner.returncode != 0:
        raise StackError(f"migration failed: {(complaint or out).strip()[-2000:]}")
    return out

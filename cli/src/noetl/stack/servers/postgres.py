"""One embedded PostgreSQL server: its files, its command line, and whether it is itself."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noetl.stack.errors import StackError
from noetl.stack.private_file import write_private
from noetl.stack.process import processes_in, send, with_parent_death
from noetl.stack.servers import binaries
from noetl.stack.servers.identity import ServerUser, server_user
from noetl.stack.servers.roles import statements

# Lines of postmaster.pid: pid, data directory, start, port, socket, host, memory, status.
PIDFILE_STATUS_LINE = 7

SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "'127.0.0.1'",
    # TCP only: a socket's path may be at most 107 characters long, a data directory's more.
    "unix_socket_directories": "''",
    "max_connections": "200",
    "password_encryption": "'scram-sha-256'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "lc_messages": "'C'",
    "default_text_search_config": "'pg_catalog.english'",
    "shared_buffers": "'256MB'",
    "effective_cache_size": "'1GB'",
    "work_mem": "'8MB'",
    "maintenance_work_mem": "'128MB'",
    "min_wal_size": "'256MB'",
    "max_wal_size": "'2GB'",
    "checkpoint_timeout": "'15min'",
    "random_page_cost": "1.1",
    # Compiling costs more than our short statements take.
    "jit": "off",
    # After a kill every file is synced before recovery; one call instead of a thousand.
    "recovery_init_sync_method": f"'{SYNC_METHOD}'",
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] %u@%d '",
}
DURABLE: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# A kill of the server still loses no commit: it is written, only not forced to the disk.
# Plans follow from statistics: those of a test don't depend on whether a look came in between.
FORGETFUL: Mapping[str, str] = {
    **DURABLE,
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


@dataclass(frozen=True, kw_only=True)
class PostgresInstance:
    """A PostgreSQL server whose state lives in one folder.

    Attributes:
        directory: the data directory.
        port: on loopback.
        user: the superuser, made by initdb.
        password: its password.
        roles: passwords of other roles, made before the server takes clients.
        durable: false only for tests, whose data nobody needs after a power cut.
        stop_timeout_seconds: how long a server that is ending may still take.
        orphan_timeout_seconds: how long backends of a killed server may take to notice.
    """

    directory: Path
    port: int
    user: str
    password: str
    roles: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True
    stop_timeout_seconds: float = 10.0
    orphan_timeout_seconds: float = 1.0

    def prepare(self) -> None:
        """Prepare the data directory; safe to repeat before every start.

        Raises:
            StackError: initdb failed, or processes of an earlier server can't be got rid of.
        """
        if not (self.directory / "PG_VERSION").is_file():
            self._initialize()
        self._clear_leftovers()
        self._write_configuration()
        self._make_roles()

    def command(self) -> list[str]:
        """Return the command line; the server does a fast shutdown when our process dies."""
        program = [str(binaries.postgres("postgres")), "-D", str(self.directory)]
        return with_parent_death(program, signal_name="INT", user_switch=server_user().switch)

    def is_ready(self, pid: int) -> bool:
        """Return whether the process with this pid is this directory's server and accepts clients.

        The server writes its pid and status into its data directory only after it owns the
        directory and the port, so no other server can be mistaken for it.
        """
        lines = self._pidfile()
        return (
            len(lines) > PIDFILE_STATUS_LINE
            and lines[0].strip() == str(pid)
            and lines[PIDFILE_STATUS_LINE].strip() == "ready"
        )

    def _pidfile(self) -> list[str]:
        try:
            return (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _recorded_pid(self) -> int | None:
        lines = self._pidfile()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def dsn(self, database: str) -> str:
        """Address of one database, with user and password."""
        return f"postgres://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def _roles_mark(self) -> Path:
        return self.directory.with_name(self.directory.name + ".roles")

    def _initialize(self) -> None:
        # Made beside its place and moved there when complete: a kill in the middle leaves nothing
        # that looks like a database.
        unfinished = self.directory.with_name(self.directory.name + ".new")
        secret = self.directory.with_name(self.directory.name + ".secret")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        user = server_user()
        user.let_through(self.directory.parent, binaries.postgres("postgres"))
        try:
            write_private(secret, self.password + "\n", give=user.give)
            user.give(unfinished)
            self._run_initdb(unfinished, secret, user)
        finally:
            secret.unlink(missing_ok=True)
        # What is known of the roles was of a server that is gone.
        self._roles_mark.unlink(missing_ok=True)
        unfinished.rename(self.directory)

    def _run_initdb(self, target: Path, secret: Path, user: ServerUser) -> None:
        durability = [f"--sync-method={SYNC_METHOD}"] if self.durable else ["--no-sync"]
        done = subprocess.run(
            [
                *user.switch,
                str(binaries.postgres("initdb")),
                f"--pgdata={target}",
                f"--username={self.user}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # Independent of the locales that the machine happens to have.
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
                "--lc-collate=C",
                "--lc-ctype=C",
                *durability,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )
        if done.returncode != 0:
            raise StackError(f"initdb failed: {(done.stderr or done.stdout).strip()[-2000:]}")

    def _make_roles(self) -> None:
        """Make the roles with the server closed to others, so that no client comes before them."""
        if not self.roles:
            return
        text = "".join(f"{line}\n" for pair in statements(self.roles) for line in pair)
        known = self._roles_mark
        mark = hashlib.sha256(text.encode()).hexdigest()
        if known.is_file() and known.read_text() == mark:
            return
        done = subprocess.run(
            [
                *server_user().switch,
                *(str(binaries.postgres("postgres")), "--single", "-D", str(self.directory)),
                "postgres",
            ],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"roles can't be made: {done.stderr.strip()[-2000:]}")
        write_private(known, mark)

    def _clear_leftovers(self) -> None:
        # After a kill of the postmaster its backends may live on for a moment; a new server
        # refuses to start beside them. After a kill of the whole stack the postmaster itself may
        # be on its way out. Whoever calls this holds the data directory's lock, so whatever still
        # works in here belongs to nobody.
        began = time.monotonic()
        while orphans := list(processes_in(self.directory, name="postgres")):
            is_ending = self._recorded_pid() in orphans
            timeout = self.stop_timeout_seconds if is_ending else self.orphan_timeout_seconds
            waited = time.monotonic() - began
            if waited > timeout:
                for pid in orphans:
                    send(pid, signal.SIGKILL)
            if waited > timeout + self.stop_timeout_seconds:
                raise StackError(f"processes {orphans} of an earlier PostgreSQL can't be ended")
            time.sleep(0.02)
        # The pid in a stale file may by now be another process's; PostgreSQL would wait for it.
        if Path("/proc").is_dir():
            (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _write_configuration(self) -> None:
        settings = {
            **SETTINGS,
            **(DURABLE if self.durable else FORGETFUL),
            "port": str(self.port),
        }
        texts = {
            "postgresql.conf": "".join(f"{k} = {v}\n" for k, v in settings.items()),
            "pg_hba.conf": "host all all 127.0.0.1/32 scram-sha-256\n",
        }
        for name, text in texts.items():
            write_private(self.directory / name, text, give=server_user().give)

"""The embedded PostgreSQL of a stack that doesn't run, for as long as a restore takes."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from noetl.stack.datadir import DataDirectory, Identity
from noetl.stack.errors import StackError
from noetl.stack.servers.databases import Databases, embedded_databases, embedded_server

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@contextmanager
def embedded_postgres(data: DataDirectory, *, shards: int | None = None) -> Iterator[Databases]:
    """Run a stack's own server without the services, and yield its databases.

    Args:
        data: the stack's directory, which nobody else can use during the block.
        shards: number of shards for a stack that has never run; None takes the recorded one.

    Raises:
        DataDirectoryInUseError: the stack runs.
        StackError: the server doesn't start, or the stack has another number of shards.
    """
    with data.hold():
        identity = data.identity()
        identity.shards = identity.shards or shards
        if shards is not None and identity.shards != shards:
            raise StackError(
                f"the stack on {data.root} has {identity.shards} shards, the backup {shards}: "
                "restore it into another directory (--data)"
            )
        with _running(data, identity):
            data.save_identity(identity)
            yield embedded_databases(identity)


@contextmanager
def _running(data: DataDirectory, identity: Identity) -> Iterator[None]:
    server = embedded_server(data, identity)
    server.prepare()
    with (data.logs / "postgres.log").open("ab") as log:
        process = subprocess.Popen(
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A Ctrl-C reaches this process alone: what was begun is put back before the end.
            start_new_session=True,
        )
    try:
        end = time.monotonic() + _START_SECONDS
        while not server.is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > end:
                raise StackError(f"PostgreSQL doesn't start; see {data.logs / 'postgres.log'}")
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

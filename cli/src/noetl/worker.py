"""`python -m noetl.worker`: one worker, as the NoETL command line starts it.

Settings come from the environment, then from a file `.env` in the working directory. What is
missing there is taken from the local stack that runs in the data directory; `noetl server start`
returns before that stack is up, so it is waited for.
"""

import os
import sys
import time

import typer

from noetl.commands.operate import current_state, nats_of_worker
from noetl.stack.datadir import DataDirectory, locate
from noetl.stack.errors import told_by
from noetl.stack.process import free_port
from noetl.stack.services import MODULES, WORKER, load_dotenv_file, outside, pool_of

STACK_SECONDS = 60.0
_LOOK_SECONDS = 0.2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def environment() -> dict[str, str]:
    """Return the worker's settings.

    Raises:
        StackError: neither the environment nor a local stack says where NATS is.
    """
    load_dotenv_file()
    values = dict(os.environ)
    url = values.get("NOETL_SERVER_URL") or current_state(locate(None)).get("url")
    values["NOETL_SERVER_URL"] = url or "http://localhost:8082"
    pool = values.get("WORKER_POOL_NAME") or values.get("NOETL_WORKER_POOL_NAME")
    values["WORKER_POOL_NAME"] = pool or "default"
    values["NOETL_NATS_URL"] = outside().nats_url or _nats_of_stack(locate(None), pool_of(values))
    values.setdefault("NOETL_HTTP_PORT", str(free_port()))
    return values


def _nats_of_stack(directory: DataDirectory, pool: str) -> str:
    deadline = time.monotonic() + STACK_SECONDS
    if not _has_nats(directory):
        typer.echo(f"noetl.worker: waiting for a stack on {directory.root}", err=True)
    while not _has_nats(directory) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return nats_of_worker(directory, pool)


def _has_nats(directory: DataDirectory) -> bool:
    services = current_state(directory)["services"]
    return any(service["name"] == "nats" and service["state"] == "ready" for service in services)


@app.command()
def start() -> None:
    """Run a worker, for the stack on $NOETL_DATA_DIR unless settings name another."""
    values = environment()
    # The same process, so that its pid file stays right.
    os.execve(sys.executable, [sys.executable, "-m", MODULES[WORKER]], values)  # noqa: S606 -- no shell wanted


def main() -> None:
    """Becomes the worker."""
    with told_by("noetl.worker"):
        app()


if __name__ == "__main__":
    main()

"""`python -m noetl.server`: edge, orchestrator, catalog, outbox and projector as one command.

Takes the arguments with which the NoETL command line starts a server. It brings its own NATS and
PostgreSQL unless the environment, or a file `.env` in the working directory, names others, and no
worker: those are started apart.
"""

import os
from typing import Annotated

import typer
from noetl_common.process.program import ending_at_once

from noetl.commands.options import DataOption
from noetl.commands.up import serve
from noetl.stack.datadir import DEFAULT_PORT, locate
from noetl.stack.errors import StackError, told_by
from noetl.stack.services import load_dotenv_file, outside
from noetl.stack.supervisor import StackPlan

READY_SECONDS = 120.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def start(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    init_db: Annotated[bool, typer.Option("--init-db", help="Migrate the schema first.")] = False,
    data: DataOption = None,
) -> None:
    """Run the control plane without a worker until SIGINT or SIGTERM."""
    load_dotenv_file()
    servers = outside()
    plan = StackPlan(
        data=locate(data),
        host=host or os.environ.get("NOETL_HOST") or "0.0.0.0",  # noqa: S104 -- the contract's default
        port=port or _port(),
        replicas={"worker": 0},
        outside=servers,
        # A database of our own is always ours to migrate; another one only on request.
        migrate=init_db or servers.databases is None,
    )
    serve(plan, ready_timeout=READY_SECONDS)


def _port() -> int:
    text = os.environ.get("NOETL_PORT") or str(DEFAULT_PORT)
    if text.startswith("tcp://"):  # what Kubernetes puts there for a Service named noetl
        return DEFAULT_PORT
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise StackError(f"NOETL_PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def main() -> None:
    """Run the command."""
    with told_by("noetl.server"), ending_at_once():
        app()


if __name__ == "__main__":
    main()

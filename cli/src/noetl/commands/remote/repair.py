"""`restart` and `why`: go on with an execution that has ended, and explain why one stands still."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from noetl_contract.json import Json

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json
from noetl.follow.servers import client_of, server_of, token_of
from noetl.follow.standing import execution_lines, reasons_in
from noetl.follow.workload import workload
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_client import Client

    from noetl.follow.servers import Server

_ExecutionId = Annotated[str, typer.Argument(help="Id of the execution.")]
_MOST_RUNNING = 5


def restart(
    execution_id: _ExecutionId,
    *,
    from_step: Annotated[
        str | None, typer.Option(metavar="STEP", help="Run it and what followed from it again.")
    ] = None,
    iterations: Annotated[
        list[int] | None,
        typer.Option("--iteration", metavar="INDEX", help="Of that loop, this one only."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Input of what runs again; JSON or text."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Another version of the playbook, or `latest`.")
    ] = None,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on from where an execution has ended; without options, from the failed steps."""
    values = workload(None, assignments) if assignments else None
    with server_of(server_url, token=token, data=data) as server:
        begun = server.restart(
            execution_id, from_step=from_step, iterations=iterations, values=values, version=version
        )
    if as_json:
        print_json(begun)
    else:
        typer.echo(f"execution {begun.execution_id} goes on from {execution_id}")


def why(
    execution_id: _ExecutionId,
    *,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an execution waits for, since when, and who could help."""
    with server_of(server_url, token=token, data=data) as server:
        answer = _ask(server, execution_id, "why")
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for reason in reasons_in(answer, all_of_them=True):
        typer.echo(reason.text)


def show_execution(
    execution_id: str,
    *,
    data: Path | None,
    server_url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Print how an execution stands: its status, its first failure, and what it waits for."""
    why: Json = None
    with server_of(server_url, token=token, data=data) as server:
        standing = _ask(server, execution_id, "status")
        if not isinstance(standing, dict) or "status" not in standing:
            raise StackError("the server doesn't answer as a NoETL server does")
        if standing["status"] == "RUNNING":
            why = _ask(server, execution_id, "why")
    if as_json:
        typer.echo(json.dumps({**standing, "why": why}))
        return
    for line in execution_lines(execution_id, standing, why):
        typer.echo(line)


def show_health(server: "Server", token: str | None, *, as_json: bool) -> None:
    """Print the health of a server that is not the stack of a data directory.

    Raises:
        StackError: the server can't be reached, or can serve no requests now.
    """
    from noetl_client import Retries  # noqa: PLC0415 -- the HTTP client loads slowly

    key = token_of(token)
    with client_of(server.url, key, retries=Retries(attempts=1)) as client:
        told = client.ask("GET", "/api/health")
    health = told if isinstance(told, dict) else {}
    if as_json:
        typer.echo(json.dumps({"server": server.url, "reason": server.reason, **health}))
    else:
        typer.echo(server.sentence)
        typer.echo(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in health.items()))
        for line in standing_lines(server.url, key):
            typer.echo(line)


def standing_lines(url: str, token: str) -> Iterator[str]:
    """Yield why running executions of a stack don't move, if some don't; never an error."""
    from noetl_client import Retries  # noqa: PLC0415 -- the HTTP client loads slowly

    try:
        with client_of(url, token, retries=Retries(attempts=1)) as server:
            wanted = {"status": "RUNNING", "limit": str(_MOST_RUNNING)}
            running = server.ask("GET", "/api/executions", query=wanted)
            for execution_id in _ids(running):
                for reason in reasons_in(_ask(server, execution_id, "why")):
                    yield f"execution {execution_id}: {reason.text}"
    except StackError:
        return  # the processes are what was asked for


def _ask(server: "Client", execution_id: str, what: str) -> Json:
    """Return the answer about an execution, whose form the reader checks."""
    return server.ask("GET", f"/api/executions/{quote(execution_id, safe='')}/{what}")


def _ids(running: Json) -> list[str]:
    entries = running if isinstance(running, list) else []
    return [str(one.get("execution_id")) for one in entries if isinstance(one, dict)]

"""`pause`, `resume` and `pauses`: withhold the commands of an execution, a path or a pool."""

from typing import Annotated, Literal

import typer

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json
from noetl.follow.servers import server_of
from noetl.stack.errors import StackError

_ExecutionId = Annotated[
    str | None, typer.Argument(metavar="EXECUTION", help="Id of an execution.")
]
_Path = Annotated[
    str | None, typer.Option(metavar="PATH", help="All playbooks at and below this path.")
]
_Pool = Annotated[str | None, typer.Option(metavar="POOL", help="A worker pool.")]
_Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is shown and logged.")]


def pause(
    execution: _ExecutionId = None,
    *,
    path: _Path = None,
    pool: _Pool = None,
    reason: _Reason = None,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Issue no new command of an execution, of a path or of a pool; running ones go on."""
    kind, name = _target(execution, path, pool)
    with server_of(server_url, token=token, data=data) as server:
        if kind == "execution":
            typer.echo(f"execution {name} is {server.pause(name, reason).status}")
            return
        typer.echo(f"{kind} {server.pauses.add(kind, name, reason).name} is paused")


def resume(
    execution: _ExecutionId = None,
    *,
    path: _Path = None,
    pool: _Pool = None,
    reason: _Reason = None,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Take a pause back: the commands that it withheld are dispatched."""
    kind, name = _target(execution, path, pool)
    if reason is not None and kind != "execution":
        raise StackError(f"--reason: the end of a pause of a {kind} has none")
    with server_of(server_url, token=token, data=data) as server:
        if kind == "execution":
            typer.echo(f"execution {name} is {server.resume(name, reason).status}")
            return
        lifted = server.pauses.remove(kind, name).lifted
        typer.echo(f"{kind} {name} {'goes on' if lifted else 'was not paused'}")


def pauses(
    *,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the paths and pools that are paused; `status EXECUTION` shows that of an execution."""
    with server_of(server_url, token=token, data=data) as server:
        answer = server.pauses.list()
    if as_json:
        print_json(answer)
        return
    found = answer.pauses
    for one in found:
        who = f" by {one.actor}" if one.actor else ""
        why = f" ({one.reason})" if one.reason else ""
        typer.echo(f"{one.kind} {one.name}: paused{who} since {one.since}{why}")
    if not found:
        typer.echo("no path and no pool is paused", err=True)


type _Kind = Literal["execution", "path", "pool"]


def _target(execution: str | None, path: str | None, pool: str | None) -> tuple[_Kind, str]:
    named: list[tuple[_Kind, str | None]] = [
        ("execution", execution),
        ("path", path),
        ("pool", pool),
    ]
    given = [(kind, name) for kind, name in named if name]
    if len(given) != 1:
        raise StackError("name one thing: an execution's id, --path PATH or --pool POOL")
    return given[0]

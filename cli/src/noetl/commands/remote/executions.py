"""`start`, `list`, `cancel` and `signal`: executions of a server."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json, print_table
from noetl.exits import Exit
from noetl.follow.servers import server_of, told
from noetl.follow.view import print_result
from noetl.follow.workload import workload
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_client import Client
    from noetl_contract.http.catalog.entries import CatalogEntry
    from noetl_contract.http.executions.start import ExecuteAnswer

_PayloadOption = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="JSON; `@FILE` reads a file, `-` standard input."),
]
_AssignmentsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One value; JSON or text.")
]
_LONGEST_CAUSE = 60


class Listed(StrEnum):
    """Lists that `list` can print."""

    EXECUTIONS = "executions"
    PLAYBOOKS = "playbooks"
    WAITS = "waits"


def start(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Catalog path of the playbook.")],
    *,
    assignments: _AssignmentsOption = None,
    payload: _PayloadOption = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version of the playbook; else the newest.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="DURATION", help="End it after that long: 30s, 5m, 1h.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option(metavar="POOL", help="Worker pool that runs it.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The same key is the same start: it is made once."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Wait for its end, and print the result."),
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a registered playbook; the id of the execution goes to stdout.

    With --wait the result goes there. Exit code 1 when it failed, 3 when it completed with soft
    errors, 5 when it runs on; without --wait the start alone counts.
    """
    given = workload(payload, assignments or [])
    with server_of(server_url, token=token, data=data) as server:
        begun = server.start(path, given, version=version, timeout=deadline, pool=pool, key=key)
        if wait is not None:
            raise typer.Exit(_waited(server, begun, wait, as_json=as_json))
    if as_json:
        print_json(begun)
        return
    typer.echo(begun.execution_id)
    if begun.status == "duplicate":
        typer.echo("it was started before, under the same key", err=True)


def _waited(server: "Client", begun: "ExecuteAnswer", seconds: float, *, as_json: bool) -> Exit:
    """Wait for an execution, print its result, and return the exit code."""
    from noetl_client import ExecutionFailed, Forbidden, WaitTimedOut  # noqa: PLC0415 -- loads slowly

    execution_id = begun.execution_id
    try:
        standing = server.wait(execution_id, seconds=seconds)
    except WaitTimedOut as error:
        if as_json:
            print_json({"execution_id": execution_id, "status": error.status, "result": None})
        else:
            typer.echo(execution_id)
        typer.echo(f"{error}; `noetl-server status {execution_id}` says more", err=True)
        return Exit.STILL_RUNNING
    result, failure = None, None
    try:
        try:
            result = server.result(execution_id)
        except Forbidden:  # large results stay references
            result = server.result(execution_id, resolve=False)
    except ExecutionFailed as error:
        failure = error
    if as_json:
        print_json(
            {
                "execution_id": execution_id,
                "status": standing.status,
                "result": result,
                "error": standing.error,
                "soft_errors": standing.soft_errors,
            }
        )
    elif failure is None:
        print_result(result)
    if failure is not None:
        typer.echo(f"{failure}\n  `noetl-server logs {execution_id}` has its lines", err=True)
        return Exit.FAILED
    if standing.soft_errors:
        cause = standing.soft_error
        first = "" if cause is None else f", first: {cause.sentence()}"
        typer.echo(f"completed with {standing.soft_errors} soft errors{first}", err=True)
        return Exit.SOFT_ERRORS
    return Exit.DONE


def list_things(
    what: Annotated[Listed, typer.Argument(help="What to list.")] = Listed.EXECUTIONS,
    *,
    path: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Part of the playbook's path.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(metavar="STATUS", help="RUNNING, COMPLETED, FAILED or CANCELLED."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Those behind the last one of a page.")
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List executions (newest first), playbooks with their newest version, or waits."""
    if what is not Listed.EXECUTIONS and status is not None:
        raise StackError("--status goes with executions")
    with server_of(server_url, token=token, data=data) as server:
        match what:
            case Listed.EXECUTIONS:
                _list_executions(server, path, status, limit, after, as_json=as_json)
            case Listed.PLAYBOOKS:
                _list_playbooks(server, path, limit, after, as_json=as_json)
            case Listed.WAITS:
                _list_waits(server, path, limit, after, as_json=as_json)


def _list_executions(
    server: "Client",
    path: str | None,
    status: str | None,
    limit: int,
    after: str | None,
    *,
    as_json: bool,
) -> None:
    wanted = None if status is None else status.upper()
    found = server.list(path=path, status=wanted, limit=limit, after=after)
    if as_json:
        print_json(found)
        return
    rows = [("EXECUTION", "STATUS", "PLAYBOOK", "STARTED", "TOOK", "CAUSE")]
    rows += [
        (
            str(one.execution_id),
            one.status + (" paused" if one.paused else ""),
            f"{one.path} v{one.version}",
            one.started_at[:19].replace("T", " "),
            one.duration_human,
            _short(one.cause.sentence() if one.cause is not None else one.error or ""),
        )
        for one in found
    ]
    print_table(rows)
    if len(found) == limit:
        typer.echo(f"more: --after {found[-1].execution_id}", err=True)


def _list_playbooks(
    server: "Client", path: str | None, limit: int, after: str | None, *, as_json: bool
) -> None:
    newest: dict[str, CatalogEntry] = {}
    for entry in server.catalog.list(kind="Playbook").entries:
        known = newest.setdefault(entry.path, entry)
        if entry.version > known.version:
            newest[entry.path] = entry
    wanted = (path or "").lower()
    found = [
        newest[name]
        for name in sorted(newest)
        if wanted in name.lower() and (after is None or name > after)
    ]
    shown = found[:limit]
    if as_json:
        print_json([one.model_dump(include={"path", "version", "created_at"}) for one in shown])
        return
    rows = [("PLAYBOOK", "VERSION", "REGISTERED")]
    rows += [(one.path, str(one.version), one.created_at[:19].replace("T", " ")) for one in shown]
    print_table(rows)
    if len(found) > limit:
        typer.echo(f"more: --after {shown[-1].path}", err=True)


def _list_waits(
    server: "Client", path: str | None, limit: int, after: str | None, *, as_json: bool
) -> None:
    found = server.waits(path=path, limit=limit, after=after)
    if as_json:
        print_json(found.waits)
        return
    rows = [("EXECUTION", "SIGNAL", "STEP", "PLAYBOOK", "SINCE", "TITLE")]
    rows += [
        (
            str(one.execution_id),
            one.signal or "-",
            one.step if one.iteration is None else f"{one.step}[{one.iteration}]",
            one.path,
            one.since[:19].replace("T", " "),
            _short(one.title),
        )
        for one in found.waits
    ]
    print_table(rows)
    if found.next is not None:
        typer.echo(f"more: --after {found.next}", err=True)


def cancel(
    executions: Annotated[
        list[str], typer.Argument(metavar="EXECUTION...", help="Ids of executions.")
    ],
    *,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; it is shown and logged.")
    ] = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="All descendants too.")] = False,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel executions; each refusal is reported, and the others are cancelled all the same."""
    from noetl_client import Refused  # noqa: PLC0415 -- the HTTP client loads slowly

    done, refused = [], 0
    with server_of(server_url, token=token, data=data) as server:
        for execution_id in executions:
            try:
                done.append(server.cancel(execution_id, reason, cascade=cascade))
            except Refused as error:
                if len(executions) == 1:
                    raise
                refused += 1
                sys.stderr.write(f"noetl-server: {execution_id}: {told(error)}\n")
    if as_json:
        print_json(done)
    else:
        for one in done:
            others = [other for other in one.cancelled_executions if other != str(one.execution_id)]
            more = f", with {', '.join(others)}" if others else ""
            typer.echo(f"execution {one.execution_id} is cancelled{more}")
    if refused:
        raise typer.Exit(Exit.FAILED)


def signal(
    execution: Annotated[str, typer.Argument(metavar="EXECUTION", help="Id of the execution.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the signal.")],
    *,
    assignments: _AssignmentsOption = None,
    payload: _PayloadOption = None,
    step: Annotated[
        str | None, typer.Option(metavar="STEP", help="Only a wait of this step.")
    ] = None,
    iteration: Annotated[
        int | None, typer.Option(min=0, metavar="INDEX", help="Only this iteration.")
    ] = None,
    signal_id: Annotated[
        str | None, typer.Option("--id", metavar="TEXT", help="The same id has one effect.")
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signal to the waits for it; `list waits` shows signals and their forms."""
    given = workload(payload, assignments or []) if payload or assignments else None
    with server_of(server_url, token=token, data=data) as server:
        answer = server.signal(
            execution, name, given, step=step, iteration=iteration, signal_id=signal_id
        )
    if as_json:
        print_json(answer)
    elif answer.status == "taken":
        typer.echo(f"step {answer.step} of execution {execution} goes on")
    else:
        typer.echo(f"signal {name} is kept for the next step that waits for it")


def _short(text: str) -> str:
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= _LONGEST_CAUSE else f"{line[: _LONGEST_CAUSE - 1]}…"

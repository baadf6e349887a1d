"""`failures`: failed executions that were not handled yet, grouped by fingerprint."""

from typing import Annotated

import typer

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json, print_table
from noetl.exits import Exit
from noetl.follow.servers import server_of
from noetl.follow.workload import workload

app = typer.Typer(help="Failed executions of a running server, in groups.")
_MOST_PAGES = 1000
_LONGEST_MESSAGE = 80
_FingerprintArgument = Annotated[
    str, typer.Argument(metavar="GROUP", help="Fingerprint of the group, as `failures` shows it.")
]


@app.callback(invoke_without_command=True)
def failures(
    context: typer.Context,
    *,
    state: Annotated[
        str, typer.Option(metavar="STATE", help="open, dismissed, restarted or all.")
    ] = "open",
    path: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Part of the playbook's path.")
    ] = None,
    step: Annotated[str | None, typer.Option(metavar="STEP", help="Of this step only.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; since then only.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")] = 20,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List failed executions by playbook, step and message; those that failed last are first."""
    if context.invoked_subcommand is not None:
        return
    with server_of(server_url, token=token, data=data) as server:
        found = server.failures.list(state=state, path=path, step=step, since=since, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [("GROUP", "COUNT", "LAST", "PLAYBOOK", "STEP", "EXECUTION", "MESSAGE")]
    rows += [
        (
            one.fingerprint,
            str(one.count),
            one.last_at[:19].replace("T", " "),
            one.path,
            one.step or "-",
            next(iter(one.execution_ids), "-"),
            next(iter(one.message.splitlines()), "")[:_LONGEST_MESSAGE],
        )
        for one in found.failures
    ]
    print_table(rows)


@app.command()
def restart(
    group: _FingerprintArgument,
    *,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Input of what runs again; JSON or text."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Another version of the playbook, or `latest`.")
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restart all open failures of a group from their failed steps; exit code 1 for a refusal."""
    values = workload(None, assignments) if assignments else None
    done = []
    with server_of(server_url, token=token, data=data) as server:
        for _ in range(_MOST_PAGES):
            page = server.failures.restart(group, values=values, version=version)
            done += page.results
            # Those that were refused stay open, and would come again.
            if not page.has_more or not page.restarted:
                break
    refused = [one for one in done if one.error is not None]
    if as_json:
        print_json(done)
    else:
        for one in done:
            outcome = one.error or f"goes on as {one.restarted_as}"
            typer.echo(f"execution {one.execution_id}: {outcome}")
        if not done:
            typer.echo(f"no open failure of group {group}", err=True)
    if refused:
        raise typer.Exit(Exit.FAILED)


@app.command()
def dismiss(
    group: _FingerprintArgument,
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Take all open failures of a group off the list; `failures --state dismissed` has them."""
    count = 0
    with server_of(server_url, token=token, data=data) as server:
        for _ in range(_MOST_PAGES):
            page = server.failures.dismiss(group)
            count += page.dismissed
            if not page.has_more or not page.dismissed:
                break
    typer.echo(f"{count} dismissed")

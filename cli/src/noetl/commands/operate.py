"""Commands of operators: `status`, `logs`, `env`, `migrate`, `topology` and `rebuild`."""

import asyncio
import json
import shlex
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from noetl_common.errors import NoetlError
from noetl_contract.documents.broker_logins import worker_user

from noetl.commands.options import (
    DataOption,
    JsonOption,
    ServerOption,
    TokenOption,
    log_to_stderr,
)
from noetl.commands.remote.repair import show_execution, show_health, standing_lines
from noetl.follow.servers import find_server, token_of
from noetl.logs import search as execution_logs
from noetl.logs.lines import Line, Wanted
from noetl.stack import logs as log_files
from noetl.stack.datadir import ROLE, DataDirectory, Identity, StackState, locate
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.servers.databases import Databases, embedded_databases
from noetl.stack.servers.nats import nats_address
from noetl.stack.services import outside

if TYPE_CHECKING:
    from noetl.follow.servers import Server
    from noetl.logs.printed import Source


def status(
    execution: Annotated[
        str | None, typer.Argument(metavar="[EXECUTION]", help="Id of an execution.")
    ] = None,
    *,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every process of the stack, exit code 1 when none is running; or an execution.

    Of an execution: its status, what failed first, and what it waits for. Of a server that is not
    the stack of the data directory: its health, exit code 4 when it serves no requests now.
    """
    if execution is not None:
        show_execution(execution, data=data, server_url=server_url, token=token, as_json=as_json)
        return
    server = find_server(server_url, data)
    if server is not None and server.directory is None:
        show_health(server, token, as_json=as_json)
        return
    directory = locate(data)
    state = current_state(directory)
    if as_json:
        typer.echo(json.dumps(state, indent=2))
    else:
        _print_state(state, directory, server)
    if not state["running"]:
        if not as_json:
            typer.echo(f"no stack is running on {directory.root}", err=True)
        raise typer.Exit(1)


def _print_state(state: StackState, directory: DataDirectory, server: "Server | None") -> None:
    if state["services"]:
        if server is not None:
            typer.echo(server.sentence, err=True)
        _print_table(state)
        if state["running"] and state.get("url"):
            for line in standing_lines(str(state["url"]), directory.admin_key()):
                typer.echo(line)
    elif state["running"]:
        typer.echo(f"a stack is starting on {directory.root}")


def current_state(directory: DataDirectory) -> StackState:
    """Return the stack's last recorded state, corrected when it died without recording that."""
    state = directory.state() or StackState(services=[])
    state["running"] = directory.is_held()
    state["data"] = str(directory.root)
    if not state["running"]:
        for service in state["services"]:
            service["pid"], service["state"] = None, "stopped"
    return state


def logs(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[SERVICE|EXECUTION]",
            help="Name as in status, or the id of an execution; all processes when missing.",
        ),
    ] = None,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="A step of that execution.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Lines of each process to show first.")
    ] = 50,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="With an execution: look here and not in the stack's logs; `-` is standard input.",
        ),
    ] = None,
    only_output: Annotated[
        bool,
        typer.Option("--output", help="With an execution: only what its steps have printed."),
    ] = False,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the log of one process or of all, or every line about an execution.

    Of an execution all lines of all processes, and what its steps have printed, are shown in the
    order of time, whatever their number; with a step those about it. Of a server elsewhere, only
    what steps have printed. Exit code 1 when there is none, 2 for a wrong option.
    """
    if what is not None and what.isascii() and what.isdigit():
        if file and (follow or only_output or server_url):
            raise typer.BadParameter("--follow, --output and --server-url go without --file")
        server = None if file else find_server(server_url, data)
        is_elsewhere = server is not None and server.directory is None
        printed = _printed_of(what, step, server, token, as_json=as_json)
        if only_output or is_elsewhere:
            _show_output(printed, f"execution {what}", follow=follow)
            return
        _show_lines_of(
            what, step, files=file, follow=follow, data=data, as_json=as_json, printed=printed
        )
        return
    if step is not None or file or as_json or only_output or server_url:
        raise typer.BadParameter(
            "a step, --file, --output, --server-url and --json go with the id of an execution"
        )
    _show_logs(what, follow=follow, lines=lines, data=data)


def _printed_of(
    execution_id: str,
    step: str | None,
    server: "Server | None",
    token: str | None,
    *,
    as_json: bool,
) -> "Source | None":
    if server is None:
        return None
    from noetl.logs.printed import Source  # noqa: PLC0415 -- the HTTP client is slow to load

    key = token_of(token, server.directory)
    return Source(server.url, key, execution_id, step, as_json)


def _show_output(source: "Source | None", about: str, *, follow: bool) -> None:
    if source is None:
        raise StackError("no stack is running that could be asked; name one with --server-url")
    lines = source.lines()
    found = execution_logs.print_lines(lines, width=0, as_json=source.as_json)
    if follow:
        source.follow()
    elif not found:
        typer.echo(f"noetl-server: no step of {about} has printed anything yet", err=True)
        raise typer.Exit(1)


def _show_lines_of(
    execution_id: str,
    step: str | None,
    *,
    files: list[Path] | None,
    follow: bool,
    data: Path | None,
    as_json: bool,
    printed: "Source | None",
) -> None:
    directory = None if files else locate(data).logs
    places = files or execution_logs.log_files(directory or Path())
    if not places:
        raise StackError(f"no logs in {directory} yet")
    wanted = Wanted(execution_id, step)
    lines: list[Line] = []
    try:
        lines = printed.lines() if printed is not None else []
    except StackError as error:
        typer.echo(f"noetl-server: without what its steps have printed: {error}", err=True)
    try:
        found = execution_logs.find_in(places, wanted, as_json=as_json, printed=lines)
        if follow:
            with printed.beside() if printed is not None else nullcontext():
                execution_logs.follow_new(places, wanted, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if not found:
        about = f"execution {execution_id}" if step is None else f"step {step} of {execution_id}"
        typer.echo(f"noetl-server: no line about {about} in {len(places)} log(s)", err=True)
        raise typer.Exit(1)


def _show_logs(service: str | None, *, follow: bool, lines: int, data: Path | None) -> None:
    directory = locate(data)
    paths = {path.stem: path for path in sorted(directory.logs.glob("*.log"))}
    if service is not None:
        if service not in paths:
            known = ", ".join(paths) or "none yet"
            raise StackError(f"no log of {service!r} in {directory.logs} (there are: {known})")
        paths = {service: paths[service]}
    if not paths:
        raise StackError(f"no logs in {directory.logs} yet")
    width = max(map(len, paths), default=0)
    for name, path in paths.items():
        for line in log_files.tail(path, lines=lines):
            _print_line(name, line, width=width if service is None else 0)
    if not follow:
        return
    try:
        for name, line in log_files.follow(paths):
            _print_line(name, line, width=width if service is None else 0)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def migrate(*, data: DataOption = None) -> None:
    """Bring the schema up to date; safe to repeat."""
    from noetl_pg.rights import administer  # noqa: PLC0415 -- loaded late, as below

    said = []
    for address in databases_of(locate(data), living=True).all:
        said.append(migrations.migrate(address.dsn, wait_seconds=30).strip())
        try:
            asyncio.run(administer(address.dsn, name="noetl-server migrate"))
        except NoetlError as error:
            raise StackError(f"{address!r}: {error.message}") from error
    typer.echo("\n".join(filter(None, said)) or "nothing to do")


def topology(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Create or update the streams and durables; safe to repeat."""
    # Loaded here, because the broker client takes half a second that `status` need not wait for.
    from noetl.stack.servers.topology import apply  # noqa: PLC0415

    log_to_stderr()
    directory = locate(data)
    names = apply(nats_of(directory, living=True), shards=len(databases_of(directory).shards))
    typer.echo(json.dumps({"topology": names}) if as_json else "\n".join(names))


def rebuild(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Write the read model anew from the log while the system runs; safe to repeat."""
    from noetl.stack.rebuild import rebuild as walk  # noqa: PLC0415 -- as above

    log_to_stderr()
    directory = locate(data)
    done = walk(nats_of(directory, living=True), shards=len(databases_of(directory).shards))
    typer.echo(
        json.dumps(asdict(done))
        if as_json
        else f"{done.rewritten} executions written anew, {done.removed} rows without one removed"
    )


def env(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the settings that point a program at the stack; holds passwords.

    Use: `eval "$(noetl-server env)"`.
    """
    values = settings_of(locate(data))
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def settings_of(directory: DataDirectory) -> dict[str, str]:
    """Return the variables that point a program at the stack."""
    values = {
        "NOETL_NATS_URL": nats_of(directory),
        **databases_of(directory).environment,
    }
    state = directory.state()
    if state is not None and (url := state.get("url")):
        values |= {"NOETL_SERVER_URL": url, "NOETL_PUBLIC_SERVER_URL": url}
    return values


def nats_of(directory: DataDirectory, *, living: bool = False) -> str:
    """Address of the NATS server: the environment's, or the stack's, which may have to run."""
    given = outside().nats_url
    if given is not None:
        return given
    identity = _known(directory, "nats", living=living)
    return nats_address(ROLE, identity.nats_password, port=identity.ports["nats"])


def nats_of_worker(directory: DataDirectory, pool: str) -> str:
    """Address of the NATS server of a stack with the login of a pool's workers.

    A pool that the stack doesn't know (`NOETL_POOLS`) has none: its workers log in as the operator.
    """
    identity = _known(directory, "nats", living=False)
    user = worker_user(pool)
    if user not in identity.nats_users:
        typer.echo(
            f"noetl: the stack knows no pool {pool!r} (NOETL_POOLS); its worker gets all rights",
            err=True,
        )
        return nats_of(directory)
    return nats_address(user, identity.nats_users[user], port=identity.ports["nats"])


def databases_of(directory: DataDirectory, *, living: bool = False) -> Databases:
    """Return the databases that the environment names, or those of the running stack."""
    given = outside().databases
    if given is not None:
        return given
    return embedded_databases(_known(directory, "postgres", living=living))


def _known(directory: DataDirectory, server: str, *, living: bool) -> Identity:
    identity = directory.identity() if (directory.root / "identity.json").is_file() else None
    if identity is None or not {"nats", "postgres"} & identity.ports.keys():
        raise StackError(
            f"no stack has run on {directory.root}: start one (noetl-server up), or set "
            "NOETL_NATS_URL and POSTGRES_HOST"
        )
    if server not in identity.ports:
        variable = "NOETL_NATS_URL" if server == "nats" else "POSTGRES_HOST or NOETL_SHARDS"
        raise StackError(f"the stack on {directory.root} uses a server of yours: set {variable}")
    if living and not directory.is_held():
        raise StackError(f"no stack is running on {directory.root}: start it (noetl-server up)")
    return identity


def _print_table(state: StackState) -> None:
    columns = ("name", "pid", "port", "state", "restarts")
    rows = [[service.get(column) for column in columns] for service in state["services"]]
    texts = [list(columns), *(["-" if cell is None else str(cell) for cell in r] for r in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
    if state["running"]:
        typer.echo(f"\n{state['url']}  (supervisor {state['pid']}, data {state['data']})")


def _print_line(name: str, line: str, *, width: int) -> None:
    sys.stdout.write(f"{name:<{width}} | {line}\n" if width else f"{line}\n")
    sys.stdout.flush()

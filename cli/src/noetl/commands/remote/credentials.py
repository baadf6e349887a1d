"""`credential`: secrets of a running server, put in and never shown."""

import getpass
import io
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values
from noetl_contract.json import Json, JsonObject

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_json, print_table
from noetl.commands.validate import text_of
from noetl.follow.servers import server_of
from noetl.stack.errors import StackError

app = typer.Typer(no_args_is_help=True, help="Credentials of a running server.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="By which playbooks ask for it.")],
    *,
    kind: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Such as postgres, bearer or basic.")
    ] = "generic",
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Its data: a JSON object, or lines NAME=VALUE; `-` is standard input.",
        ),
    ] = None,
    asked: Annotated[
        list[str] | None,
        typer.Option("--ask", metavar="FIELD", help="Ask for this field without showing it."),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="For people.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="For lists.")] = None,
    allow_path: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Playbooks that may use it; else as before."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Hosts that http steps may send it to."),
    ] = None,
    is_platforms: Annotated[
        bool,
        typer.Option("--platform", help="A login of services, which no playbook may use."),
    ] = False,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a credential, or replace the one with its name; its data is shown nowhere.

    The data comes from a file, from standard input or from the keyboard, never from the command
    line, which other users of the machine can read.
    """
    if is_platforms and allow_path:
        raise typer.BadParameter("--platform and --allow-path exclude each other")
    values = _read(file, asked or [])
    with server_of(server_url, token=token, data=data) as server:
        kept = server.credentials.store(
            name,
            values,
            kind=kind,
            description=description,
            tags=tag,
            allowed_paths=[] if is_platforms else allow_path,
            allowed_hosts=allow_host,
        )
    if as_json:
        print_json(kept)
        return
    typer.echo(f"credential {kept.name} of type {kept.type} is stored: {', '.join(values)}")


@app.command("list")
def list_credentials(
    *,
    kind: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Exact type.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Part of the name or description.")
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List credentials without their data, newest first."""
    with server_of(server_url, token=token, data=data) as server:
        found = server.credentials.list(kind=kind, search=search).items
    if as_json:
        print_json(found)
        return
    rows = [("NAME", "TYPE", "PATHS", "HOSTS", "CHANGED", "DESCRIPTION")]
    rows += [
        (
            one.name,
            one.type,
            ",".join(path or "*" for path in one.allowed_paths or ["*"]),
            ",".join(one.allowed_hosts or ["*"]),
            one.updated_at[:19].replace("T", " "),
            one.description or "",
        )
        for one in found
    ]
    print_table(rows)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the credential.")],
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Delete a credential; steps that ask for it fail from then on."""
    with server_of(server_url, token=token, data=data) as server:
        server.credentials.remove(name)
    typer.echo(f"credential {name} is removed")


def _read(file: Path | None, asked: list[str]) -> JsonObject:
    """Return the data; no error quotes any of it.

    Raises:
        StackError: there is none, or it can't be read.
    """
    values = {} if file is None else _parsed(text_of(file), str(file))
    for field in asked:
        if not sys.stdin.isatty():
            raise StackError("--ask needs a terminal; give the data with --file")
        values[field] = getpass.getpass(f"{field}: ")
    if not values:
        raise StackError("no data: give it with --file FILE, --file - or --ask FIELD")
    return values


def _parsed(text: str, place: str) -> JsonObject:
    if not text.lstrip().startswith(("{", "[", '"')):
        lines: dict[str, Json] = {
            name: value
            for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items()
            if value is not None
        }
        return lines
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise StackError(f"{place} is no JSON: {error.msg} at {where}") from None
    if not isinstance(values, dict):
        raise StackError(f"{place} holds no JSON object")
    return values

"""`open`: the console, at the page of interest."""

import sys
import webbrowser
from typing import Annotated
from urllib.parse import quote

import typer

from noetl.commands.options import DataOption, ServerOption
from noetl.follow.servers import address_of


def open_console(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXECUTION|PATH]", help="Id of an execution, or path of a playbook."
        ),
    ] = None,
    *,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the address and start no browser.")
    ] = False,
    server_url: ServerOption = None,
    data: DataOption = None,
) -> None:
    """Open the console in a browser, and print its address."""
    address, _ = address_of(server_url, None, data)
    page = f"{address.rstrip('/')}/console"
    if what is not None and what.isascii() and what.isdigit():
        page += f"/runs/{what}"
    elif what is not None:
        page += f"/playbooks/{quote(what, safe='/')}"
    typer.echo(page)
    if not only_print and sys.stdout.isatty():
        webbrowser.open(page)

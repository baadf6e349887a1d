"""`import` and `shadow`: moving in from NoETL's own server."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from noetl.commands.operate import databases_of
from noetl.commands.options import DataOption, JsonOption, TokenOption, log_to_stderr
from noetl.commands.output import print_json
from noetl.commands.validate import text_of
from noetl.exits import Exit
from noetl.follow.servers import token_of
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.services import outside
from noetl_common.errors import NoetlError

LEGACY_TOKEN = "NOETL_LEGACY_TOKEN"  # noqa: S105 -- the name of a variable
_FromOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="URL|DSN",
        help="The existing server: http(s)://… of its API, or postgresql://… of its database.",
    ),
]


def bring_over(
    source: _FromOption,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would come, and write nothing.")
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Key that encrypts the existing server's secrets, in base64; else "
            "$NOETL_LEGACY_ENCRYPTION_KEY, else the key of this installation.",
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring catalog, credentials, keychains and workers over from NoETL's own server.

    Documents keep their versions, ids and times; what is here already is left as it is, so that
    a second run brings only what is new. No secret is shown. The API is shown $NOETL_LEGACY_TOKEN;
    a database's password may stand in $PGPASSWORD. Exit code 1 when something can't come; it is
    named with the reason.
    """
    from noetl_migrate.moving.importing import bring_over as bring  # noqa: PLC0415 -- as above
    from noetl_migrate.moving.importing import source_of  # noqa: PLC0415 -- the clients load slowly
    from noetl_migrate.moving.keys import LEGACY_KEY, Keys  # noqa: PLC0415 -- as above

    log_to_stderr()
    if not source.startswith(("http://", "https://", "postgres://", "postgresql://")):
        raise typer.BadParameter("--from is an address of http, https, postgres or postgresql")
    here = locate(data)
    into = databases_of(here, living=True).cluster
    own = "" if outside().databases is not None else here.identity().encryption_key
    legacy = text_of(key_file) if key_file else os.environ.get(LEGACY_KEY, "")
    theirs = legacy or os.environ.get("NOETL_ENCRYPTION_KEY", "") or own
    door = source_of(
        source, token=os.environ.get(LEGACY_TOKEN, "").strip(), keys=Keys.of_legacy(theirs)
    )
    try:
        report = asyncio.run(
            bring(
                door,
                into,
                Keys.of_ours(own),
                is_trial=dry_run,
                say=lambda line: typer.echo(line, err=True),
            )
        )
    except NoetlError as error:
        raise StackError(error.message) from error
    if as_json:
        print_json(report.as_json())
    else:
        for line in report.lines():
            typer.echo(line)
    if not report.is_whole:
        raise typer.Exit(Exit.FAILED)


def shadow(
    *,
    old: Annotated[str, typer.Option("--old", metavar="URL", help="The existing server.")],
    new: Annotated[str, typer.Option("--new", metavar="URL", help="The edge of this one.")],
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Access log, in any format with `GET /path` in its lines; `-` is standard input. "
            "Without it a table of reads, for all documents and executions that are there.",
        ),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each route.")] = 3,
    most: Annotated[int, typer.Option(min=1, help="Requests to make.")] = 10_000,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the same reads to both servers and report differing answers; exit code 1 if any differs.

    Only reads are made, and none whose answer holds a secret. What is new here beside what was
    there is no difference, nor are times of the server, or ids as texts. The existing server is
    shown $NOETL_LEGACY_TOKEN.
    """
    from noetl_migrate.shadow.asked import Asked, of_log  # noqa: PLC0415 -- the client loads slowly
    from noetl_migrate.shadow.running import shadow as compare  # noqa: PLC0415 -- as above

    log_to_stderr()
    asked, left_out = None, 0
    if requests is not None:
        told = list(of_log(text_of(requests).splitlines()))
        asked = [one for one in told if isinstance(one, Asked)]
        left_out = len(told) - len(asked)
    found = asyncio.run(
        compare(
            old,
            new,
            asked,
            old_token=os.environ.get(LEGACY_TOKEN, "").strip(),
            new_token=token_of(token),
            examples=examples,
            most=most,
        )
    )
    found.left_out += left_out
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.lines():
            typer.echo(line)
        typer.echo(f"{found.left_out} requests left out")
    if not found.is_same:
        raise typer.Exit(Exit.FAILED)

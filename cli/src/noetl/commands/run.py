"""`run`: one playbook, on a running stack or on one started for it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from noetl_common.settings import PlaybookSettings

from noetl.commands.options import DataOption, ServerOption, TokenOption
from noetl.commands.output import print_findings
from noetl.exits import Exit
from noetl.follow.workload import workload
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError


def run(
    file: Annotated[Path, typer.Argument(help="The playbook.", exists=True, dir_okay=False)],
    *,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One workload value; JSON or text."),
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="The workload.")] = None,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    is_strict: Annotated[
        bool, typer.Option("--strict", help="Soft errors count as a failure.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also what has errors, as another server may know it.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Cancel it after that long.")
    ] = None,
    output: Annotated[
        bool, typer.Option("--output/--no-output", help="Show what steps print, on stderr.")
    ] = True,
) -> None:
    """Run a playbook and follow it live; the result goes to stdout.

    Without --server-url, NOETL_SERVER_URL or --data, the stack of ./.noetl runs it, else the server
    at the default port, else a stack that is started for it.

    The playbook becomes the newest version of its path. One with errors is not run and becomes
    none: they are reported as by `validate`.

    Exit code 0 when it completed, 3 when it completed with soft errors, 1 when it failed or was
    cancelled, 130 after Ctrl-C, which cancels the execution.
    """
    text = _checked(file, anyway=anyway)
    # Loaded here: the HTTP client takes a quarter of a second that no other command needs.
    from noetl.follow.job import Job  # noqa: PLC0415
    from noetl.follow.servers import find_server  # noqa: PLC0415

    server = find_server(server_url, data)
    if server is not None and server_url is None:
        typer.echo(server.sentence, err=True)
    job = Job(
        file=file,
        text=text,
        workload=workload(payload, assignments or []),
        timeout=timeout,
        is_strict=is_strict,
        # A stack of the directory is kept alive for the run, and a starting one waited for.
        server_url=None if server is None or server.directory else server.url,
        token=token,
        data=locate(data),
        shows_output=output,
    )
    raise typer.Exit(asyncio.run(job.run()))


def _checked(file: Path, *, anyway: bool) -> str:
    """Return the text of a playbook without errors; print those that it has.

    Raises:
        StackError: the file can't be read.
        Exit: the playbook has errors, and is not wanted with them.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"can't read {file}: {error}") from error
    from noetl_engine.documents import lint_document  # noqa: PLC0415 -- the engine loads slowly

    findings = lint_document(text, more_kinds=PlaybookSettings().more_kinds())
    if any(one.severity == "error" for one in findings) and not anyway:
        # Before anything is registered: schedules and parents start the newest version.
        print_findings(str(file), findings)
        typer.echo(f"{file}: not run", err=True)
        raise typer.Exit(Exit.FAILED)
    return text

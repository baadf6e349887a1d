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

    The playbook becomes the newest version of its path. One with errors is not run and becomes
    none: they are reported as by `validate`.

    Exit code 0 when it completed, 3 when it completed with soft errors, 1 when it failed or was
    cancelled, 130 after Ctrl-C, which cancels the execution.
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
    # Loaded here: the HTTP client takes a quarter of a second that no other command needs.
    from noetl.follow.job import Job  # noqa: PLC0415
    from noetl.follow.servers import server_named  # noqa: PLC0415

    job = Job(
        file=file,
        text=text,
        workload=workload(payload, assignments or []),
        timeout=timeout,
        is_strict=is_strict,
        server_url=server_named(server_url, data),
        token=token,
        data=locate(data),
        shows_output=output,
    )
    raise typer.Exit(asyncio.run(job.run()))

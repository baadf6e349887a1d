"""`run`: one playbook, on a running stack or on one started for it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from noetl.commands.options import DataOption, ServerOption, TokenOption
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
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Cancel it after that long.")
    ] = None,
    output: Annotated[
        bool, typer.Option("--output/--no-output", help="Show what steps print, on stderr.")
    ] = True,
) -> None:
    """Run a playbook and follow it live; the result goes to stdout.

    Exit code 0 when it completed, 3 when it completed with soft errors, 1 when it failed or was
    cancelled, 130 after Ctrl-C, which cancels the execution.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"can't read {file}: {error}") from error
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

"""`doctor`: the problems of a system, their meaning, and the next commands."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from noetl.commands.operate import current_state, databases_of, nats_of
from noetl.commands.options import (
    DataOption,
    JsonOption,
    ServerOption,
    TokenOption,
    log_to_stderr,
)
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.services import outside

if TYPE_CHECKING:
    from noetl.doctor.examination import Patient
    from noetl.doctor.finding import Report

_USAGE = 64
# What options that are not there and values that are none have in common; Typer has no name for it.
_WrongCall: type[Exception] = typer.BadParameter.__mro__[1]


class Doctor(TyperCommand):
    """The command, whose exit code for a wrong call is none of those of its findings."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: Any = None,
        **extra: Any,
    ) -> Any:
        """Read the options.

        Raises:
            _WrongCall: with the exit code 64, as sysexits.h has it.
        """
        try:
            return super().make_context(info_name, args, parent, **extra)
        except _WrongCall as error:
            error.exit_code = _USAGE  # type: ignore[attr-defined]
            raise


def doctor(
    *,
    stuck_minutes: Annotated[
        float,
        typer.Option(min=0, help="A running execution is stuck when nothing was open for so long."),
    ] = 5.0,
    data: DataOption = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for problems; exit code 0: none, 2: warnings, 3: work stands still.

    Exit code 1: there was nothing to look at. 64: the command was called wrongly.

    Looks at the local stack, or at the servers that NOETL_NATS_URL and POSTGRES_HOST or
    NOETL_SHARDS name, with the login that owns the schema, and at the edge of --server-url.
    It changes nothing.
    """
    # Loaded here, because the clients take half a second that other commands need not wait for.
    from noetl.doctor.examination import examine  # noqa: PLC0415

    log_to_stderr()
    patient = _patient(
        data, server_url=server_url, token=token, stuck=timedelta(minutes=stuck_minutes)
    )
    report = asyncio.run(examine(patient))
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        for line in lines(report):
            typer.echo(line)
    raise typer.Exit(report.exit_code)


def lines(report: "Report") -> list[str]:
    """Return a report as people read it, the worst first."""
    shown: list[str] = []
    for one in report.ranked():
        shown.append(f"{one.kind.severity.name}  {one.text}  [{one.code}]")
        shown += [f"    - {detail}" for detail in one.details]
        shown += [f"    {one.kind.meaning}", f"    next: {one.next}", ""]
    looked_at = ", ".join(dict.fromkeys(report.looked_at))
    shown += [f"note: {note}" for note in report.notes]
    verdict = f"{len(report.findings)} found" if report.findings else "nothing is wrong"
    shown.append(f"{verdict}; looked at: {looked_at}" if looked_at else "nothing was looked at")
    shown += [f"not looked at: {what}: {why}" for what, why in report.left_out.items()]
    return shown


def _patient(
    data: Path | None, *, server_url: str | None, token: str | None, stuck: timedelta
) -> "Patient":
    """Find the parts of the system to look at.

    Raises:
        StackError: nothing.
    """
    from noetl.doctor.examination import Patient  # noqa: PLC0415 -- as above
    from noetl.follow.servers import find_server, token_of  # noqa: PLC0415 -- as above

    named = outside()
    server = find_server(server_url, data)
    directory = locate(data)
    # Looked at without an edge too: one that doesn't start is what the command is for.
    local = directory.is_held() if server is None else server.directory is not None
    if not local and server is None and named.nats_url is None and named.databases is None:
        raise StackError(
            f"no stack is running on {directory.root}: start it (noetl-server up), name a server "
            "with --server-url, or set NOETL_NATS_URL and POSTGRES_HOST"
        )
    state = current_state(directory) if local else None
    return Patient(
        processes=None if state is None else state["services"],
        url=None if server is None else server.url,
        token=token_of(token, directory if local else None),
        nats_url=nats_of(directory) if local else named.nats_url,
        databases=databases_of(directory) if local else named.databases,
        newest_migration=newest_migration(migrations.folder()),
        stuck_after=stuck,
    )


def newest_migration(folder: Path) -> str:
    """Return the version of the newest migration of this release."""
    return max(path.name.partition("_")[0] for path in folder.glob("*.sql"))

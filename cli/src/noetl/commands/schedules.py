"""`schedule` and `backfill`: what starts at times of a clock, on a running server."""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

import typer
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.http.catalog.schedules import (
    FiringList,
    NextTimes,
    ScheduleBody,
    ScheduleList,
)
from pydantic import BaseModel

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.follow.backfill import Walk
from noetl.follow.servers import Server, server_of
from noetl.stack.errors import StackError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_PAGE = 1000

app = typer.Typer(no_args_is_help=True, help="Schedules of a running server.")
PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Catalog path of the schedule.")]


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="Document of kind Schedule.")],
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Register a schedule; it takes the place of the one of its path."""
    try:
        content = base64.b64encode(file.read_bytes()).decode()
    except OSError as error:
        raise StackError(f"can't read {file}: {error.strerror or error}") from error
    body = {"content": content, "resource_type": "Schedule"}
    with server_of(server_url, token=token, data=data) as server:
        answer = server.ask("POST", "/api/catalog/register", body)
        kept = RegisterAnswer.model_validate(answer)
        found = _named(server, kept.path)
    typer.echo(f"{kept.path} version {kept.version}, next at {found.next_at or '-'}")


@app.command("list")
def list_schedules(
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List schedules by path."""
    with server_of(server_url, token=token, data=data) as server:
        found = list(_all(server))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    rows = [("PATH", "PLAYBOOK", "WHEN", "OVERLAP", "STATE", "NEXT")]
    rows += [
        (one.path, one.playbook, _when(one), one.overlap, one.state, one.next_at or "-")
        for one in found
    ]
    _print_table(rows)


@app.command()
def show(
    path: PathArgument,
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one schedule."""
    with _schedule(path, server_url, token, data) as (_, found):
        _print_fields(found, as_json=as_json)


@app.command()
def pause(
    path: PathArgument,
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Stop firing a schedule; times that pass meanwhile are left out."""
    with _schedule(path, server_url, token, data) as (server, found):
        server.ask("POST", f"/api/schedules/{found.schedule_id}/pause")
    typer.echo(f"{path} is paused")


@app.command()
def resume(
    path: PathArgument,
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Fire a schedule again, from now on."""
    with _schedule(path, server_url, token, data) as (server, found):
        answer = server.ask("POST", f"/api/schedules/{found.schedule_id}/resume")
    typer.echo(f"{path} goes on at {ScheduleBody.model_validate(answer).next_at or '-'}")


@app.command("next")
def next_times(
    path: PathArgument,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100, help="How many.")] = 10,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the next times of a schedule, in its time zone."""
    with _schedule(path, server_url, token, data) as (server, found):
        answer = server.ask("GET", f"/api/schedules/{found.schedule_id}/next?count={count}")
    times = NextTimes.model_validate(answer)
    if as_json:
        typer.echo(times.model_dump_json(indent=2))
        return
    for one in times.times:
        delay = "" if one.due_at == one.scheduled_at else f"  due {one.due_at}"
        typer.echo(f"{one.local}{delay}")


@app.command()
def history(
    path: PathArgument,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=_PAGE, help="How many.")] = 20,
    state: Annotated[str | None, typer.Option(help="Times of this state only.")] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what became of a schedule's times, newest first."""
    wanted = f"limit={lines}" + (f"&state={quote(state)}" if state else "")
    with _schedule(path, server_url, token, data) as (server, found):
        answer = server.ask("GET", f"/api/schedules/{found.schedule_id}/history?{wanted}")
    firings = FiringList.model_validate(answer)
    if as_json:
        typer.echo(firings.model_dump_json(indent=2))
        return
    rows = [("TIME", "STATE", "BY", "EXECUTION", "STATUS", "REASON")]
    rows += [
        (
            one.scheduled_at,
            one.state if one.count == 1 else f"{one.state} x{one.count}",
            one.origin,
            str(one.execution_id or "-"),
            one.status or "-",
            one.reason or "",
        )
        for one in firings.firings
    ]
    _print_table(rows)


def backfill(
    path: PathArgument,
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First time: 2026-01-01, or RFC 3339.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Times from here on are left out.")
    ],
    parallel: Annotated[
        int, typer.Option("--parallel", min=1, max=100, help="Executions that run at once.")
    ] = 1,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start what a schedule didn't start in a range of the past, and wait for the executions.

    Ended and begun again it goes on: no time is started twice. Times without an offset are in the
    schedule's zone. Exit code 1 when an execution failed or a start was refused, 130 after Ctrl-C.
    """
    with _schedule(path, server_url, token, data) as (server, found):
        walk = Walk(
            server,
            found,
            _moment("--from", begin, found.timezone),
            _moment("--to", end, found.timezone),
            parallel,
        )
        try:
            refused = walk.run()
        except KeyboardInterrupt:
            typer.echo(f"\nstopped; what runs goes on. {walk.summary()}", err=True)
            typer.echo("The same command goes on with the rest.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if refused is not None:
        typer.echo(f"\nnoetl-server: a start was refused, {refused}", err=True)
    typer.echo(json.dumps(walk.counts) if as_json else walk.summary())
    if refused is not None or not walk.is_good:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _schedule(
    path: str, url: str | None, token: str | None, data: Path | None
) -> Iterator[tuple[Server, ScheduleBody]]:
    """Connect to a server, and find the schedule of a path there."""
    with server_of(url, token=token, data=data) as server:
        yield server, _named(server, path)


def _named(server: Server, path: str) -> ScheduleBody:
    answer = server.ask("GET", f"/api/schedules?path={quote(path, safe='')}")
    found = ScheduleList.model_validate(answer).schedules
    if not found:
        raise StackError(f"no schedule has the path {path!r}")
    return found[0]


def _all(server: Server) -> Iterator[ScheduleBody]:
    after: str | None = ""
    while after is not None:
        query = f"limit={_PAGE}" + (f"&after={quote(after, safe='')}" if after else "")
        page = ScheduleList.model_validate(server.ask("GET", f"/api/schedules?{query}"))
        yield from page.schedules
        after = page.after


def _moment(option: str, text: str, zone: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise StackError(
            f"{option} {text!r} is no time: write 2026-01-31 or 2026-01-31T08:00:00+01:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(zone))


def _when(schedule: ScheduleBody) -> str:
    if schedule.cron is None:
        return f"every {schedule.interval_seconds} s"
    return f"{schedule.cron} {schedule.timezone}"


def _print_fields(found: BaseModel, *, as_json: bool) -> None:
    values = found.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    width = max(map(len, values))
    for name, value in values.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {value}")


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())

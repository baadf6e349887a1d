"""`schedule` and `backfill`: starts at times of a clock, on a running server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from noetl_contract.http.catalog.schedules import ScheduleBody

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_fields, print_json, print_problems, print_table
from noetl.commands.validate import text_of
from noetl.exits import Exit
from noetl.follow.backfill import Walk
from noetl.follow.servers import server_of
from noetl.follow.workload import workload
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_client import Client
    from noetl_contract.json import JsonObject

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
    text = text_of(file)
    with server_of(server_url, token=token, data=data) as server:
        _register(server, text)


@app.command()
def create(
    path: PathArgument,
    *,
    playbook: Annotated[str, typer.Option(metavar="PATH", help="Playbook that it starts.")],
    cron: Annotated[
        str | None, typer.Option(metavar="TEXT", help="When, as `30 2 * * *` or `@daily`.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Or how often: 30s, 15m, 1h30m, 2d.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--timezone", metavar="NAME", help="Zone of --cron; UTC if none.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="skip, queue, cancel or allow; skip if absent.")
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="The workload.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One workload value; JSON or text."),
    ] = None,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """Make a schedule without a file; it takes the place of the one of its path."""
    if (cron is None) == (every is None):
        raise StackError("say when: --cron TEXT or --every DURATION")
    spec: JsonObject = {
        "playbook": playbook,
        "cron": cron,
        "interval": every,
        "timezone": zone,
        "overlap": overlap,
        "payload": workload(payload, assignments or []) or None,
    }
    document: JsonObject = {
        "apiVersion": "noetl.io/v2",
        "kind": "Schedule",
        "metadata": {"name": path.rpartition("/")[2], "path": path},
        "spec": {name: value for name, value in spec.items() if value is not None},
    }
    with server_of(server_url, token=token, data=data) as server:
        _register(server, json.dumps(document))


@app.command()
def remove(
    path: PathArgument,
    *,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
) -> None:
    """End a schedule by taking its document out; executions that it has started go on."""
    with _schedule(path, server_url, token, data) as (server, _):
        server.catalog.remove(path)
    typer.echo(f"{path} is removed")


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
        print_json(found)
        return
    rows = [("PATH", "PLAYBOOK", "WHEN", "OVERLAP", "STATE", "NEXT")]
    rows += [
        (one.path, one.playbook, _when(one), one.overlap, one.state, one.next_at or "-")
        for one in found
    ]
    print_table(rows)


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
        if as_json:
            print_json(found)
        else:
            print_fields(found)


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
        server.schedules.pause(found.schedule_id)
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
        resumed = server.schedules.resume(found.schedule_id)
    typer.echo(f"{path} goes on at {resumed.next_at or '-'}")


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
        times = server.schedules.next_times(found.schedule_id, count=count)
    if as_json:
        print_json(times)
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
    """List a schedule's times with their outcomes, newest first."""
    with _schedule(path, server_url, token, data) as (server, found):
        firings = server.schedules.history(found.schedule_id, state=state, limit=lines)
    if as_json:
        print_json(firings)
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
    print_table(rows)


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
    """Start the times that a schedule missed in a range of the past, and wait for the executions.

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
            raise typer.Exit(Exit.INTERRUPTED) from None
    if refused is not None:
        typer.echo(f"\nnoetl-server: a start was refused, {refused}", err=True)
    typer.echo(json.dumps(walk.counts) if as_json else walk.summary())
    if refused is not None or not walk.is_good:
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _schedule(
    path: str, url: str | None, token: str | None, data: Path | None
) -> Iterator[tuple["Client", ScheduleBody]]:
    """Connect to a server, and find the schedule of a path there."""
    with server_of(url, token=token, data=data) as server:
        yield server, _named(server, path)


def _register(server: "Client", text: str) -> None:
    kept = server.catalog.register(text, kind="Schedule")
    print_problems(kept.path, kept.problems or ())
    found = _named(server, kept.path)
    typer.echo(f"{kept.path} version {kept.version}, next at {found.next_at or '-'}")


def _named(server: "Client", path: str) -> ScheduleBody:
    found = server.schedules.list(path=path).schedules
    if not found:
        raise StackError(
            f"no schedule has the path {path!r}\n  `noetl-server schedule list` shows what is there"
        )
    return found[0]


def _all(server: "Client") -> Iterator[ScheduleBody]:
    after: str | None = ""
    while after is not None:
        page = server.schedules.list(limit=_PAGE, after=after)
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

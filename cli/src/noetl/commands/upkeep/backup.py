"""`backup` and `restore`: the databases of an installation, with PostgreSQL's own programs."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noetl.commands.operate import databases_of
from noetl.commands.options import DataOption, JsonOption, log_to_stderr
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.services import outside
from noetl.stack.stop_signals import ended_in_order

if TYPE_CHECKING:
    from noetl.backup.restore import Restored

_MEGABYTE = 1e6

_MinutesOption = Annotated[
    float, typer.Option("--minutes", min=0.1, help="Longest time for one database.")
]


def backup(
    folder: Annotated[Path, typer.Argument(help="New folder for the dumps.")],
    *,
    minutes: _MinutesOption = 360,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dump the databases of the installation, all shards at one moment, while it runs.

    It needs pg_dump of the server's version or a newer one, and a direct address, not a pooler's.
    Secrets stay encrypted in it: keep NOETL_ENCRYPTION_KEY, or a local stack's `identity.json`,
    elsewhere.
    """
    from noetl.backup.dump import PROGRAM, back_up  # noqa: PLC0415 -- the clients load slowly

    log_to_stderr()
    began = time.monotonic()
    databases = databases_of(locate(data), living=True)
    with ended_in_order(PROGRAM):
        manifest = back_up(databases, folder.absolute(), seconds=minutes * 60)
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
        return
    for name, dump in manifest.dumps.items():
        typer.echo(f"{name}  {dump.size / _MEGABYTE:.1f} MB  as of {dump.taken_at:%F %T} UTC")
    typer.echo(f"{folder} is complete after {time.monotonic() - began:.1f} s")


def restore(
    folder: Annotated[Path | None, typer.Argument(help="Folder of a backup.")] = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop what the databases hold now, after success.")
    ] = False,
    already_there: Annotated[
        bool,
        typer.Option(
            "--already-there",
            help="The databases went back in another way: do only what is needed after it.",
        ),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back a restore that was killed in the middle.")
    ] = False,
    minutes: _MinutesOption = 360,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup while no service runs, and have its messages sent again afterwards.

    Without servers of your own it goes into the embedded PostgreSQL of a stack that is stopped.
    The broker may be an empty one, or the one that goes on with newer messages.
    """
    from noetl.backup.embedded import embedded_postgres  # noqa: PLC0415 -- as above
    from noetl.backup.manifest import read_manifest  # noqa: PLC0415 -- as above
    from noetl.backup.restore import PROGRAM, send_again  # noqa: PLC0415 -- as above
    from noetl.backup.restore import restore as fill  # noqa: PLC0415 -- as above
    from noetl.backup.restore import undo as take_back  # noqa: PLC0415 -- as above

    if [folder is not None, already_there, undo].count(True) != 1:
        raise StackError("name the folder of a backup, or give --already-there or --undo: just one")
    log_to_stderr()
    began = time.monotonic()
    with ExitStack() as held:
        held.enter_context(ended_in_order(PROGRAM))
        shards = None if folder is None else read_manifest(folder).shards
        databases = outside().databases or held.enter_context(
            embedded_postgres(locate(data), shards=shards)
        )
        if undo:
            typer.echo(take_back(databases))
            return
        done = (
            send_again(databases)
            if folder is None
            else fill(databases, folder, replace=replace, seconds=minutes * 60)
        )
    _print_result(done, seconds=time.monotonic() - began, as_json=as_json)


def _print_result(done: "Restored", *, seconds: float, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"running": done.running, "messages": done.messages}))
        return
    typer.echo(
        f"restored in {seconds:.1f} s: {done.running} executions go on, {done.messages} messages "
        "between executions are sent again; start the services now"
    )

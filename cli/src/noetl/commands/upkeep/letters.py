"""`dead-letters`: messages given up, in the broker's stream or an outbox; put back or dropped."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from noetl_common.errors import NoetlError

from noetl.commands.operate import databases_of, nats_of
from noetl.commands.options import DataOption, JsonOption, log_to_stderr
from noetl.stack.datadir import DataDirectory, locate
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_bus.broker import Bus
    from noetl_common.shards import DatabaseAddress

    from noetl.letters.letter import Letter

app = typer.Typer(no_args_is_help=True, help="Messages that were given up.")

_PROGRAM = "noetl-server dead-letters"
_REASON_SHOWN = 100
_Name = Annotated[str, typer.Argument(help="Number of a letter, or shard/number of a parked row.")]
_Names = Annotated[list[str], typer.Argument(help="Numbers of letters, shard/number of rows.")]


@app.command(name="list")
def list_(
    *,
    parked: Annotated[
        bool, typer.Option("--parked", help="Rows of outboxes, not messages of the stream.")
    ] = False,
    execution: Annotated[int | None, typer.Option(help="Only those of this execution.")] = None,
    after: Annotated[str | None, typer.Option(help="The page behind this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most on a page.")] = 50,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters or the parked rows, the oldest first."""
    from noetl.letters import parked as rows  # noqa: PLC0415 -- the clients load slowly
    from noetl.letters import stream  # noqa: PLC0415 -- as above
    from noetl.letters.letter import is_row  # noqa: PLC0415 -- as above

    directory = _started(data)
    if after is not None and is_row(after) is not parked:
        raise StackError("--after takes a name of the same list: 0/17 with --parked, else 17")
    if parked:
        page = _asked(
            rows.list_rows(_shards(directory), after=after, limit=limit, execution=execution)
        )
    else:
        behind = int(after or 0)
        page = _at_broker(
            directory,
            partial(stream.list_letters, after=behind, limit=limit, execution=execution),
        )
    if as_json:
        letters = [one.as_json() for one in page.letters]
        typer.echo(json.dumps({"letters": letters, "after": page.after}, indent=2))
        return
    for one in page.letters:
        typer.echo(_line(one))
    if page.after is not None:
        typer.echo(f"more: --after {page.after}", err=True)


@app.command()
def show(name: _Name, *, data: DataOption = None) -> None:
    """Show one as JSON, with its body; secrets are masked."""
    from noetl.letters import parked, stream  # noqa: PLC0415 -- as above
    from noetl.letters.letter import is_row  # noqa: PLC0415 -- as above

    directory = _started(data)
    letter = (
        _asked(parked.read_row(_shards(directory), name))
        if is_row(name)
        else _at_broker(directory, partial(stream.read_letter, number=int(name)))
    )
    typer.echo(json.dumps(letter.as_json(), indent=2))


@app.command()
def replay(names: _Names, *, data: DataOption = None) -> None:
    """Put messages back onto their subjects, when their cause is mended.

    A letter is dropped behind it, a row published under its own id; so each goes out once, also
    when the command is killed and given again.
    """
    from noetl.letters import parked, stream  # noqa: PLC0415 -- as above
    from noetl.letters.letter import is_row  # noqa: PLC0415 -- as above

    directory = _started(data)
    count = len(_shards(directory))
    for name in names:
        if is_row(name):
            _asked(parked.replay_row(_shards(directory), name))
        else:
            _at_broker(directory, partial(stream.replay_letter, number=int(name), shards=count))
        typer.echo(f"{name} is on its way")


@app.command()
def drop(names: _Names, *, data: DataOption = None) -> None:
    """Delete them for good."""
    from noetl.letters import parked, stream  # noqa: PLC0415 -- as above
    from noetl.letters.letter import is_row  # noqa: PLC0415 -- as above

    directory = _started(data)
    for name in names:
        if is_row(name):
            _asked(parked.drop_row(_shards(directory), name))
        else:
            _at_broker(directory, partial(stream.drop_letter, number=int(name)))
        typer.echo(f"{name} is dropped")


def _started(data: Any) -> DataDirectory:
    log_to_stderr()
    return locate(data)


def _shards(directory: DataDirectory) -> "tuple[DatabaseAddress, ...]":
    return databases_of(directory, living=True).shards


def _at_broker[Value](
    directory: DataDirectory, ask: "Callable[[Bus], Coroutine[Any, Any, Value]]"
) -> Value:
    from noetl.stack.servers.topology import connected  # noqa: PLC0415 -- as above

    async def asked() -> Value:
        async with connected(nats_of(directory, living=True), name=_PROGRAM) as bus:
            return await ask(bus)

    return _asked(asked())


def _asked[Value](question: Coroutine[Any, Any, Value]) -> Value:
    try:
        return asyncio.run(question)
    except NoetlError as error:
        raise StackError(error.message) from error


def _line(letter: "Letter") -> str:
    since = "" if letter.first_at is None else f"{letter.first_at:%F %T} to "
    fate = "" if letter.hindrance is None else f" (can't be replayed: {letter.hindrance})"
    return (
        f"{letter.name}  {since}{letter.last_at:%F %T} UTC  {letter.subject or '-'}  "
        f"{letter.tries} tries: {letter.reason[:_REASON_SHOWN]}{fate}"
    )

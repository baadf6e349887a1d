"""`archive` and `verify`: old executions elsewhere, and logs against their digests."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from noetl.commands.operate import databases_of
from noetl.commands.options import DataOption, JsonOption, log_to_stderr
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.stop_signals import ended_in_order

if TYPE_CHECKING:
    from noetl_common.shards import DatabaseAddress

    from noetl_maintenance.archive.bodies import Buckets
    from noetl_maintenance.archive.place import Place

app = typer.Typer(no_args_is_help=True, help="Old executions as Parquet files elsewhere.")

_PROGRAM = "noetl-server archive"
_SHOWN = 20
_PAGE = 500
_MEGABYTE = 1e6
_Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="A folder, s3://bucket/prefix, gs:// or az://.")
]
_Ids = Annotated[list[int], typer.Argument(metavar="EXECUTION...", help="Ids of executions.")]


@app.command()
def write(
    place: _Place,
    *,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Executions that ended before.")
    ],
    with_results: Annotated[
        bool, typer.Option("--with-results", help="Large results that lie in buckets, too.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write executions that ended long ago, with all that belongs to them; nothing is deleted.

    A clean-up with NOETL_RETENTION_ARCHIVED_ONLY drops what is in an archive only.
    """
    where = _place(place, make=True)
    buckets = _buckets() if with_results else None
    from noetl_maintenance.archive.writing import write as write_all  # noqa: PLC0415 -- the clients load slowly

    began = time.monotonic()
    with ended_in_order(_PROGRAM):
        written = write_all(
            _shards(data),
            where,
            ended_before=datetime.now(UTC) - timedelta(days=older_than),
            say=lambda line: typer.echo(line, err=True),
            buckets=buckets,
        )
    if as_json:
        typer.echo(json.dumps(asdict(written)))
    else:
        typer.echo(
            f"{written.executions} executions with {written.events} events are in "
            f"{written.volumes} volumes of {written.size / _MEGABYTE:.1f} MB, "
            f"after {time.monotonic() - began:.1f} s"
            + (f", with {written.bodies} results from buckets" if with_results else "")
        )
    broken = [f"execution {one}: its log is not what its digest says" for one in written.broken]
    _refuse(broken + written.missing)


@app.command()
def check(place: _Place, *, as_json: JsonOption = False) -> None:
    """Read every file of an archive, and compare each log with its digest."""
    where = _place(place)
    from noetl_maintenance.archive.reading import prove  # noqa: PLC0415 -- as above

    proof = prove(where)
    if as_json:
        typer.echo(json.dumps(asdict(proof)))
    else:
        typer.echo(
            f"{proof.executions} executions with {proof.events} events in {proof.volumes} volumes"
            + (f", with {proof.bodies} results from buckets" if proof.bodies else "")
        )
    _refuse(proof.problems)


@app.command()
def attach(
    place: _Place,
    executions: _Ids,
    *,
    without_results: Annotated[
        bool, typer.Option("--without-results", help="Leave large results in their buckets alone.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Bring executions back from an archive, to be read and replayed; `detach` deletes them."""
    where = _place(place)
    buckets = None if without_results else _buckets()
    from noetl_maintenance.archive.reading import attach as attach_all  # noqa: PLC0415 -- as above

    rows = attach_all(_shards(data), where, executions, buckets=buckets)
    typer.echo(f"{len(set(executions))} executions with {rows} rows are back")


@app.command()
def detach(executions: _Ids, *, data: DataOption = None) -> None:
    """Delete executions that an archive has as they are."""
    _need_archive()
    from noetl_maintenance.archive.reading import detach as detach_all  # noqa: PLC0415 -- as above

    detach_all(_shards(data), executions)
    typer.echo(f"{len(set(executions))} executions are deleted")


def verify(
    executions: Annotated[
        list[int] | None, typer.Argument(metavar="EXECUTION...", help="All without any.")
    ] = None,
    *,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the digests of logs again and compare them with those that were kept."""
    from noetl_maintenance.archive.chains import Verdict  # noqa: PLC0415 -- as above

    log_to_stderr()
    counts: dict[str, int] = {str(one): 0 for one in Verdict}
    broken: list[int] = []
    shards = _shards(data)
    for shard, address in enumerate(shards):
        asyncio.run(_verify(address, shard, executions or [], counts, broken))
    missing = len(set(executions or [])) - sum(counts.values())
    if as_json:
        typer.echo(json.dumps({**counts, "broken_executions": broken}))
    else:
        typer.echo(", ".join(f"{number} {name}" for name, number in counts.items() if number))
    _refuse([f"execution {one}: its log is not what its digest says" for one in broken])
    if executions and missing:
        raise StackError(f"{missing} of these executions are in no database")


async def _verify(
    address: "DatabaseAddress",
    shard: int,
    ids: Sequence[int],
    counts: dict[str, int],
    broken: list[int],
) -> None:
    from noetl_pg.single import open_single  # noqa: PLC0415 -- as above
    from noetl_pg.sql.queries import Queries  # noqa: PLC0415 -- as above

    from noetl_maintenance.archive.chains import Verdict, checked_pages  # noqa: PLC0415 -- as above

    queries = Queries.load("noetl_maintenance.archive")
    async with (
        open_single(
            address.dsn, queries, name=f"noetl-server verify {shard}", seconds=600
        ) as database,
        database.acquire() as session,
    ):
        async for logs in checked_pages(session, ids, page=_PAGE):
            for log in logs:
                counts[log.verdict] += 1
                if log.verdict is Verdict.BROKEN:
                    broken.append(log.execution_id)


def _shards(data: "DataOption") -> Sequence["DatabaseAddress"]:
    return databases_of(locate(data), living=True).shards


def _place(address: str, *, make: bool = False) -> "Place":
    _need_archive()
    from noetl_maintenance.archive.place import Place  # noqa: PLC0415 -- as above

    log_to_stderr()
    return Place.at(address, make=make)


def _buckets() -> "Buckets":
    if find_spec("noetl_projector") is None:
        raise StackError("results in buckets need the package noetl-projector")
    from noetl_maintenance.archive.bodies import Buckets  # noqa: PLC0415 -- as above

    return Buckets.opened()


def _need_archive() -> None:
    if find_spec("duckdb") is None or find_spec("obstore") is None:
        raise StackError(
            "archives need DuckDB and obstore: pip install 'noetl-maintenance[archive]'"
        )


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise StackError("\n".join(problems[:_SHOWN]) + more)

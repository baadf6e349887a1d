"""`reshard`: twice as many shards."""

import os

import typer
from noetl.commands.operate import nats_of
from noetl.commands.options import DataOption, log_to_stderr
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.services import outside
from noetl.stack.stop_signals import ended_in_order
from noetl_common.shards import BadShardMap, parse_shards

_NEW = "NOETL_NEW_SHARDS"


def reshard(*, data: DataOption = None) -> None:
    """Double the shards while everything stands still; give it again when it was killed.

    NOETL_SHARDS (or POSTGRES_HOST) names the databases of today, NOETL_NEW_SHARDS in the same form
    as many more, which are made and migrated. Executions that belong to the new ones are copied,
    compared, and deleted where they were.
    """
    from noetl_maintenance.reshard.doubling import PROGRAM, double  # noqa: PLC0415 -- the clients load slowly

    log_to_stderr()
    databases = outside().databases
    if databases is None:
        raise StackError(
            "the shards of servers of your own are doubled: name them (NOETL_SHARDS, or "
            "POSTGRES_HOST), and the new ones (NOETL_NEW_SHARDS)"
        )
    try:
        new = parse_shards(os.environ.get(_NEW, ""), variable=_NEW)
    except BadShardMap as error:
        raise StackError(error.message) from error
    with ended_in_order(PROGRAM):
        double(databases, new, nats_url=nats_of(locate(data), living=True), say=typer.echo)
    typer.echo(
        f"there are {2 * len(new)} shards: set NOETL_SHARDS to the databases of before, the new "
        "ones behind them, everywhere, and start the services"
    )

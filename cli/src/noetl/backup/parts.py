"""The databases of an installation, one by one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager

from noetl_common.errors import NoetlError
from noetl_common.shards import DatabaseAddress
from noetl_pg.database import Database
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries

from noetl.stack.errors import StackError
from noetl.stack.servers.databases import Databases

type Parts = Mapping[str, DatabaseAddress]


def parts_of(databases: Databases) -> Parts:
    """Return the databases by their content: `shard_0`, …, and `cluster` when it has its own.

    The cluster's own comes last, so that whatever a shard refers to there is in its dump.
    """
    parts = {f"shard_{index}": shard for index, shard in enumerate(databases.shards)}
    if databases.cluster not in databases.shards:
        parts["cluster"] = databases.cluster
    return parts


def open_part(
    address: DatabaseAddress, *, name: str, seconds: float
) -> AbstractAsyncContextManager[Database]:
    """Connect until the block ends; the server shows ``name``, a statement may take ``seconds``."""
    return open_single(address.dsn, Queries.load(__package__), name=name, seconds=seconds)


@contextmanager
def told(name: str, address: DatabaseAddress) -> Iterator[None]:
    """Name the database in the errors that it causes in a block.

    Raises:
        StackError: the block failed at the database.
    """
    try:
        yield
    except NoetlError as error:
        raise StackError(f"{name} ({address!r}): {error.message}") from error

"""Access to a database by named statements, with translated errors."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from types import ModuleType
from typing import Any, Self

import asyncpg
from noetl_common.telemetry.tracing import inside, tracing

from noetl_pg.errors import translate
from noetl_pg.pool import Pool, PooledConnection, borrowed
from noetl_pg.sql.queries import Queries

type Row = asyncpg.Record
type Connection = PooledConnection
type Borrow = Callable[[], AbstractAsyncContextManager[Connection]]


_PROVEN_SECONDS = 10.0


class LastAnswer:
    """Time of the database's last answer; stores on one pool share it."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = float("-inf")


class Statements:
    """Runs statements by their names.

    ``timeout_seconds`` of a call replaces the command timeout of the pool. For an unknown name, a
    `KeyError` is raised.

    Raises:
        DataConflict: a key exists already, or another transaction was faster.
        DatabaseUnavailable: the outcome is unknown.
        DataRejected: the database will never accept these values.
    """

    def __init__(self, borrow: Borrow, queries: Queries, last_answer: LastAnswer) -> None:
        self._borrow = borrow
        self._queries = queries
        self._last_answer = last_answer

    async def fetch(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> list[Row]:
        """Return all rows."""
        statement = self._queries[name]
        with _running(name):
            async with self._borrow() as connection:
                rows = await connection.fetch(statement, *arguments, timeout=timeout_seconds)
        self._last_answer.at = monotonic()
        return rows

    async def fetchrow(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Row | None:
        """Return the first row, or None."""
        statement = self._queries[name]
        with _running(name):
            async with self._borrow() as connection:
                row = await connection.fetchrow(statement, *arguments, timeout=timeout_seconds)
        self._last_answer.at = monotonic()
        return row

    async def fetchone(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Row:
        """Return the row of a statement that always has one."""
        row = await self.fetchrow(name, *arguments, timeout_seconds=timeout_seconds)
        if row is None:
            raise RuntimeError(f"the statement {name} returned no row")
        return row

    async def fetchval(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Any:
        """Return the first column of the first row, or None if there is no row."""
        row = await self.fetchrow(name, *arguments, timeout_seconds=timeout_seconds)
        return None if row is None else row[0]

    async def execute(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> str:
        """Run a statement without rows and return the server's tag (``UPDATE 3``)."""
        statement = self._queries[name]
        with _running(name):
            async with self._borrow() as connection:
                tag = await connection.execute(statement, *arguments, timeout=timeout_seconds)
        self._last_answer.at = monotonic()
        return tag

    async def fetch_text(self, statement: str, *arguments: object) -> list[Row]:
        """Return the rows of a statement that a parameter can't express, such as with a table."""
        with translate():
            async with self._borrow() as connection:
                rows = await connection.fetch(statement, *arguments)
        self._last_answer.at = monotonic()
        return rows

    async def execute_text(self, statement: str) -> str:
        """Run a statement that a parameter can't express, such as DDL with the name of a table."""
        with translate():
            async with self._borrow() as connection:
                tag = await connection.execute(statement)
        self._last_answer.at = monotonic()
        return tag


def _running(name: str) -> AbstractContextManager[None]:
    """Translate errors of a statement; if the unit of work is traced, record a span."""
    return translate() if tracing() is None else _traced(name)


@contextmanager
def _traced(name: str) -> Iterator[None]:
    attributes = {"db.system.name": "postgresql", "db.query.summary": name}
    with inside(f"sql {name}", kind="client", attributes=attributes), translate():
        yield


class Session(Statements):
    """Statements on one connection."""

    def __init__(self, connection: Connection, queries: Queries, last_answer: LastAnswer) -> None:
        borrowed_already = nullcontext(connection)
        super().__init__(lambda: borrowed_already, queries, last_answer)
        self._connection = connection

    async def copy_to(
        self, other: "Session", query: str, *arguments: object, table: str, columns: Sequence[str]
    ) -> None:
        """Copy the rows of a query to a table of the schema `noetl` in another database."""
        with translate(), TemporaryFile() as file:
            await self._connection.copy_from_query(query, *arguments, output=file, format="binary")
            file.seek(0)
            await other._connection.copy_to_table(  # noqa: SLF001 -- of the same class
                table, schema_name="noetl", columns=columns, source=file, format="binary"
            )

    async def copy_to_csv(self, query: str, *arguments: object, file: Path) -> None:
        """Write the rows of a query to a file with a header; NULL is empty, texts are quoted."""
        with translate():
            await self._connection.copy_from_query(
                query, *arguments, output=file, format="csv", header=True, encoding="utf8"
            )

    async def copy_from_csv(self, table: str, columns: Sequence[str], *, file: Path) -> None:
        """Copy the rows of a file without a header to a table of the schema `noetl`."""
        with translate():
            await self._connection.copy_to_table(
                table,
                schema_name="noetl",
                columns=columns,
                source=file,
                format="csv",
                encoding="utf8",
            )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Commit all statements of the block, or none; inside a transaction, use a savepoint."""
        with translate():
            async with self._connection.transaction():
                yield self


class Database(Statements):
    """A pool of connections and the statements of one store.

    Each call may run on another connection; `transaction` and `acquire` use one connection.

    Args:
        pool: the pool of connections.
        queries: the statements; see `with_statements`.
        last_answer: is shared by the stores on one pool.
        borrow: borrows a connection instead of the pool, for callers that keep connections between
            statements.
    """

    def __init__(
        self,
        pool: Pool,
        queries: Queries | None = None,
        *,
        borrow: Borrow | None = None,
        last_answer: LastAnswer | None = None,
    ) -> None:
        super().__init__(
            borrow or partial(borrowed, pool), queries or Queries({}), last_answer or LastAnswer()
        )
        self._pool = pool

    async def is_reachable(self) -> bool:
        """Check whether the database answers, unless a statement was answered lately.

        A server that stops closes its connections, which is detected immediately; a hanging server
        is detected after ten seconds.

        Raises:
            DatabaseUnavailable: the database doesn't answer.
        """
        is_proven = monotonic() - self._last_answer.at < _PROVEN_SECONDS
        if not (is_proven and self._pool.get_size()):
            await self.execute_text("SELECT 1 /* probe */")
        return True

    def with_statements(self, package: str | ModuleType, *files: str) -> Self:
        """Return the same database with the statements of a package's files (`queries.sql`).

        Raises:
            FileNotFoundError: a file is missing in the package.
            ValueError: two statements have the same name.
        """
        queries = Queries.load(package, *files)
        return type(self)(self._pool, queries, borrow=self._borrow, last_answer=self._last_answer)

    def on(self, session: Session) -> Session:
        """Return the connection of another store's session with the statements of this store.

        With this, two stores write in one transaction.
        """
        return Session(session._connection, self._queries, self._last_answer)  # noqa: SLF001 -- of the same module

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Session]:
        """Borrow one connection, without a transaction."""
        with translate():
            async with self._borrow() as connection:
                yield Session(connection, self._queries, self._last_answer)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Borrow one connection; commit all statements of the block, or none."""
        async with self.acquire() as session, session.transaction():
            yield session


class Store:
    """Base class of stores, with the statements in ``queries.sql`` beside the subclass."""

    def __init__(self, database: Database) -> None:
        home = next(kind for kind in type(self).__mro__ if Store in kind.__bases__)
        self._db = database.with_statements(home.__module__.rpartition(".")[0])

"""The one way to a service's database: statements by name, errors that are ours."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from types import ModuleType
from typing import Any, Self

import asyncpg

from noetl_common.pg.errors import translate
from noetl_common.pg.pool import Pool
from noetl_common.pg.queries import Queries

type Row = asyncpg.Record
type Connection = asyncpg.pool.PoolConnectionProxy[Row]
type Borrow = Callable[[], AbstractAsyncContextManager[Connection]]


class Statements:
    """Run statements by their names.

    ``timeout_seconds`` of a call replaces the command timeout of the pool. A name without a
    statement is a `KeyError`.

    Raises:
        DataConflict: a key is taken, or another transaction was first.
        DatabaseUnavailable: the outcome is unknown.
        DataRejected: the database will never take these values.
    """

    def __init__(self, borrow: Borrow, queries: Queries) -> None:
        self._borrow = borrow
        self._queries = queries

    async def fetch(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> list[Row]:
        """Return all rows."""
        statement = self._queries[name]
        with translate():
            async with self._borrow() as connection:
                return await connection.fetch(statement, *arguments, timeout=timeout_seconds)

    async def fetchrow(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Row | None:
        """Return the first row, or None."""
        statement = self._queries[name]
        with translate():
            async with self._borrow() as connection:
                return await connection.fetchrow(statement, *arguments, timeout=timeout_seconds)

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
        """Return the first column of the first row; None also when there is no row."""
        row = await self.fetchrow(name, *arguments, timeout_seconds=timeout_seconds)
        return None if row is None else row[0]

    async def execute(
        self, name: str, *arguments: object, timeout_seconds: float | None = None
    ) -> str:
        """Run a statement without rows and return the server's tag (``UPDATE 3``)."""
        statement = self._queries[name]
        with translate():
            async with self._borrow() as connection:
                return await connection.execute(statement, *arguments, timeout=timeout_seconds)

    async def execute_text(self, statement: str) -> str:
        """Run a statement that the server itself has composed, such as DDL with a table's name."""
        with translate():
            async with self._borrow() as connection:
                return await connection.execute(statement)


class Session(Statements):
    """Statements on one connection."""

    def __init__(self, connection: Connection, queries: Queries) -> None:
        lent = nullcontext(connection)
        super().__init__(lambda: lent, queries)
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Commit what the block does, or nothing of it; a savepoint inside of a transaction."""
        with translate():
            async with self._connection.transaction():
                yield self


class Database(Statements):
    """A pool of connections and the statements of one store.

    Each call may run on another connection; `transaction` and `acquire` keep to one.

    Args:
        pool: where connections come from.
        queries: the statements; see `with_statements`.
        borrow: lends connections in place of the pool, for callers that keep them between
            statements.
    """

    def __init__(
        self, pool: Pool, queries: Queries | None = None, *, borrow: Borrow | None = None
    ) -> None:
        super().__init__(borrow or pool.acquire, queries or Queries({}))
        self._pool = pool

    def with_statements(self, package: str | ModuleType, *files: str) -> Self:
        """Return the same database with the statements of a package's files (queries.sql).

        Raises:
            FileNotFoundError: the package lacks one of them.
            ValueError: two statements have the same name.
        """
        queries = Queries.load(package, *files)
        return type(self)(self._pool, queries, borrow=self._borrow)

    def on(self, session: Session) -> Session:
        """Return the connection of another store's session, with the statements of this one.

        So two stores write in one transaction.
        """
        return Session(session._connection, self._queries)  # noqa: SLF001 -- of the same module

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Session]:
        """Lend one connection, without a transaction."""
        with translate():
            async with self._borrow() as connection:
                yield Session(connection, self._queries)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Lend one connection; commit what the block does on it, or nothing of it."""
        async with self.acquire() as session, session.transaction():
            yield session


class Store:
    """Reads and writes by the ``queries.sql`` beside the class that extends this one."""

    def __init__(self, database: Database) -> None:
        home = next(kind for kind in type(self).__mro__ if Store in kind.__bases__)
        self._db = database.with_statements(home.__module__.rpartition(".")[0])

"""Rows of stored results, and of bodies that wait for their removal."""

from dataclasses import dataclass
from datetime import datetime

from noetl_common.pg.database import Database
from noetl_contract.http.executions.results import StoreSize


@dataclass(frozen=True, slots=True)
class NewResult:
    """A result to store; ``text`` is its compact JSON with sorted keys, None if elsewhere."""

    result_id: int
    execution_id: int
    name: str
    scope: str
    source_step: str | None
    text: str | None
    size: int
    sha256: str
    store: str = "db"
    location: str | None = None
    expires_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A result's JSON text in ``data``, or the place and location that hold it."""

    data: str | None
    store: str
    location: str | None
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class NamedBody:
    """A result of a name, with its body."""

    result_id: int
    scope: str
    source_step: str | None
    created_at: datetime
    body: StoredBody


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A stored result without its data."""

    result_id: int
    name: str
    scope: str
    source_step: str | None
    store: str
    bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None


class ResultStore:
    """One method per statement or transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__)

    async def insert_result(self, result: NewResult) -> None:
        """Store a result; repeating it changes nothing."""
        await self._db.execute(
            "insert_result",
            result.result_id,
            result.execution_id,
            result.name,
            result.scope,
            result.source_step,
            result.text,
            result.size,
            result.sha256,
            result.store,
            result.location,
            result.expires_seconds,
        )

    async def delete_expired_results(self, *, limit: int) -> int:
        """Delete expired results; return how many."""
        return int(await self._db.fetchval("delete_expired_results", limit))

    async def find_result(
        self, execution_id: int, *, name: str, result_id: int
    ) -> StoredBody | None:
        """Return the body of a result, or where it lies."""
        row = await self._db.fetchrow("find_result", execution_id, name, result_id)
        return None if row is None else StoredBody(**row)

    async def announce_body(self, store: str, *, location: str, seconds: float) -> None:
        """Schedule the removal of a body, unless a result names it by then."""
        await self._db.execute("announce_body", store, location, seconds)

    async def forget_removal(self, store: str, *, location: str) -> None:
        """Cancel the removal of a body."""
        await self._db.execute("forget_removal", store, location)

    async def take_removals(self, *, limit: int) -> list[tuple[str, str]]:
        """Claim bodies that are due for removal; return their stores and locations."""
        await self._db.execute("keep_named_bodies")
        rows = await self._db.fetch("take_removals", limit)
        return [(row["store"], row["location"]) for row in rows]

    async def find_newest_result(self, execution_id: int, *, name: str) -> NamedBody | None:
        """Return the newest result of a name."""
        row = await self._db.fetchrow("find_newest_result", execution_id, name)
        if row is None:
            return None
        return NamedBody(
            result_id=row["result_id"],
            scope=row["scope"],
            source_step=row["source_step"],
            created_at=row["created_at"],
            body=StoredBody(
                data=row["data"],
                store=row["store"],
                location=row["location"],
                bytes=row["bytes"],
                sha256=row["sha256"],
            ),
        )

    async def list_results(
        self, execution_id: int, *, scope: str | None, name: str | None, limit: int
    ) -> list[ResultRow]:
        """Return the results of an execution without their data, oldest first."""
        rows = await self._db.fetch("list_results", execution_id, scope, name, limit)
        return [ResultRow(**row) for row in rows]

    async def delete_results(
        self, execution_id: int, *, scope: str | None, name: str | None
    ) -> int:
        """Delete results of an execution; return how many."""
        return int(await self._db.fetchval("delete_results", execution_id, scope, name))

    async def measure_results(self) -> list[StoreSize]:
        """Return number and size of the results by store."""
        return [StoreSize(**row) for row in await self._db.fetch("measure_results")]

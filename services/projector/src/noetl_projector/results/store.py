"""Rows of stored results, and of bodies that wait for their removal."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.json import JsonObject

type Pool = asyncpg.Pool[asyncpg.Record]


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
class ListedResult:
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
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.results")

    async def insert_result(self, result: NewResult) -> None:
        """Store a result; repeating it changes nothing."""
        with translate():
            await self._pool.execute(
                self._sql["insert_result"],
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
        return int(await self._value("delete_expired_results", limit))

    async def find_result(
        self, execution_id: int, *, name: str, result_id: int
    ) -> JsonObject | None:
        """Return a result's JSON text in ``data``, or its location, with size and checksum."""
        row = await self._row("find_result", execution_id, name, result_id)
        return None if row is None else dict(row)

    async def announce_body(self, store: str, *, location: str, seconds: float) -> None:
        """Schedule the removal of a body, unless a result names it by then."""
        with translate():
            await self._pool.execute(self._sql["announce_body"], store, location, seconds)

    async def forget_removal(self, store: str, *, location: str) -> None:
        """Cancel the removal of a body."""
        with translate():
            await self._pool.execute(self._sql["forget_removal"], store, location)

    async def take_removals(self, *, limit: int) -> list[tuple[str, str]]:
        """Claim bodies that are due for removal; return their stores and locations."""
        with translate():
            await self._pool.execute(self._sql["keep_named_bodies"])
        rows = await self._rows("take_removals", limit)
        return [(row["store"], row["location"]) for row in rows]

    async def find_newest_result(self, execution_id: int, *, name: str) -> JsonObject | None:
        """Return the newest result of a name; ``data`` is JSON text."""
        row = await self._row("find_newest_result", execution_id, name)
        return None if row is None else dict(row)

    async def list_results(
        self, execution_id: int, *, scope: str | None, name: str | None, limit: int
    ) -> list[ListedResult]:
        """Return the results of an execution without their data, oldest first."""
        rows = await self._rows("list_results", execution_id, scope, name, limit)
        return [ListedResult(**row) for row in rows]

    async def delete_results(
        self, execution_id: int, *, scope: str | None, name: str | None
    ) -> int:
        """Delete results of an execution; return how many."""
        return int(await self._value("delete_results", execution_id, scope, name))

    async def measure_results(self) -> list[JsonObject]:
        """Return number and size of the results by store."""
        return [dict(row) for row in await self._rows("measure_results")]

    async def _row(self, name: str, *values: object) -> asyncpg.Record | None:
        with translate():
            return await self._pool.fetchrow(self._sql[name], *values)

    async def _rows(self, name: str, *values: object) -> list[asyncpg.Record]:
        with translate():
            return await self._pool.fetch(self._sql[name], *values)

    async def _value(self, name: str, *values: object) -> Any:
        with translate():
            return await self._pool.fetchval(self._sql[name], *values)

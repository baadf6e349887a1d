"""Rows of stored results, and of bodies that wait for their removal."""

from dataclasses import dataclass, fields

from noetl_contract.http.executions.results import ListedResult, StoredResult, StoreSize
from noetl_contract.rpc.projector import ResultPut
from noetl_pg.database import Store

from noetl_projector.results.uri import ResultUri


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A result's JSON text in ``data``, compact, or where it is."""

    bytes: int
    sha256: str
    data: str | None = None
    store: str = "db"
    location: str | None = None


class ResultStore(Store):
    """One method per statement or transaction."""

    async def insert_result(
        self, uri: ResultUri, body: StoredBody, *, described: ResultPut, scope: str
    ) -> None:
        """Store a result; repeating it changes nothing."""
        await self._db.execute(
            "insert_result",
            uri.result_id,
            uri.execution_id,
            uri.name,
            scope,
            described.source_step,
            body.data,
            body.bytes,
            body.sha256,
            body.store,
            body.location,
            described.expires_seconds,
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

    async def find_newest_result(
        self, execution_id: int, *, name: str
    ) -> tuple[StoredResult, StoredBody] | None:
        """Return the newest result of a name, and its body."""
        row = await self._db.fetchrow("find_newest_result", execution_id, name)
        if row is None:
            return None
        columns = dict(row)
        body = StoredBody(**{part.name: columns[part.name] for part in fields(StoredBody)})
        ref = str(ResultUri(execution_id, name, columns["result_id"]))
        del columns["data"]
        return StoredResult(ref=ref, name=name, **columns), body

    async def list_results(
        self, execution_id: int, *, scope: str | None, name: str | None, limit: int
    ) -> list[ListedResult]:
        """Return the results of an execution without their data, oldest first."""
        rows = await self._db.fetch("list_results", execution_id, scope, name, limit)
        return [
            ListedResult(ref=str(ResultUri(execution_id, row["name"], row["result_id"])), **row)
            for row in rows
        ]

    async def delete_results(
        self, execution_id: int, *, scope: str | None, name: str | None
    ) -> int:
        """Delete results of an execution; return how many."""
        return int(await self._db.fetchval("delete_results", execution_id, scope, name))

    async def measure_results(self) -> list[StoreSize]:
        """Return number and size of the results by store."""
        return [StoreSize(**row) for row in await self._db.fetch("measure_results")]

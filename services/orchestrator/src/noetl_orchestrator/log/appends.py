"""Append rows to the log without a decision of the engine: projected and lifecycle rows.

They take the next positions of their log (W12) under the same lock as commits, and the fold
skips them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC

from msgspec.structs import asdict
from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.rpc.orchestrator import LogEnvelope
from noetl_pg.database import Database, Row, Session


class LogRow(LogEnvelope):
    """A row to append.

    Attributes:
        outbox_id: id of the outbox row that publishes it; None if it is not published.
    """

    worker_id: str | None = None
    outbox_id: int | None = None
    subject: str | None = None


class Appends:
    """Append to logs; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "appends.sql")

    async def append(
        self, rows: Sequence[LogRow], *, only_to_known: bool = False
    ) -> list[Row] | None:
        """Append the rows whose ids are new to their logs, all or none; return their positions.

        Args:
            rows: rows in the order of their positions.
            only_to_known: append nothing, and return None, if one of the logs has no row yet.

        Raises:
            DataRejected: the table rejects a row.
        """
        async with self._db.transaction() as session:
            ends = await self._lock(session, {row.execution_id for row in rows})
            if only_to_known and len(ends) < len({row.execution_id for row in rows}):
                return None
            return await self._insert(session, rows, ends)

    async def register(self, wanted: LogRow, *, path: str, catalog_id: int) -> SubscriptionBody:
        """Register a subscription, or return the open one of the path unchanged."""
        async with self._db.transaction() as session:
            await session.execute("lock_subscription_path", path)
            found = await session.fetchrow("find_registered", path)
            if found is None:
                found = await self._move(session, wanted, path, catalog_id)
            return _subscription(found)

    async def change(
        self, row: LogRow, *, allowed: Iterable[str]
    ) -> tuple[SubscriptionBody | None, bool]:
        """Change a subscription if its state allows it; return its state and whether it changed."""
        async with self._db.transaction() as session:
            found = await session.fetchrow("lock_subscription", row.execution_id)
            if found is None:
                return None, False
            if found["state"] not in allowed:
                return _subscription(found), False
            moved = await self._move(session, row, found["path"], found["catalog_id"])
            return _subscription(moved), True

    async def _move(self, session: Session, row: LogRow, path: str, catalog_id: int) -> Row:
        """Append a lifecycle row, whose status is the new state of the subscription."""
        subscription_id = row.execution_id
        context = {
            "subscription_id": str(subscription_id),
            "path": path,
            "catalog_id": str(catalog_id),
        }
        row = row.but(node_name=path, catalog_id=catalog_id, context=context)
        await self._insert(session, [row], await self._lock(session, {subscription_id}))
        return await session.fetchone(
            "put_subscription", subscription_id, path, catalog_id, row.status, row.event_type
        )

    async def _lock(self, session: Session, execution_ids: set[int]) -> dict[int, tuple[int, int]]:
        """Lock logs; return last position and catalog id of those with rows."""
        ids = sorted(execution_ids)
        states = await session.fetch("lock_states", ids)
        ends = {row["execution_id"]: (row["position"], row["catalog_id"]) for row in states}
        foreign = [one for one in ids if one not in ends]
        for execution_id in foreign:
            await session.execute("lock_log", execution_id)
        if foreign:
            # A separate statement, which sees the rows of the previous holder of the lock.
            found = await session.fetch("find_ends", foreign)
            ends |= {row["execution_id"]: (row["position"], row["catalog_id"]) for row in found}
        return ends

    async def _insert(
        self,
        session: Session,
        rows: Sequence[LogRow],
        ends: Mapping[int, tuple[int, int]],
    ) -> list[Row]:
        named = {row.execution_id: row.catalog_id for row in rows if row.catalog_id is not None}
        given = []
        for number, row in enumerate(rows):
            catalog_id = row.catalog_id
            if catalog_id is None:
                known = ends.get(row.execution_id)
                catalog_id = named.get(row.execution_id, 0) if known is None else known[1]
            given.append({**asdict(row), "number": number, "catalog_id": catalog_id})
        ids = sorted({row.execution_id for row in rows})
        return await session.fetch(
            "append_rows", given, ids, [ends.get(one, (0, 0))[0] for one in ids]
        )


def _subscription(found: Row) -> SubscriptionBody:
    return SubscriptionBody(
        subscription_id=str(found["subscription_id"]),
        path=found["path"],
        catalog_id=str(found["catalog_id"]),
        state=found["state"],
        last_event_type=found["last_event_type"],
        updated_at=found["updated_at"].astimezone(UTC).isoformat(),
    )

"""Append rows to the log without a decision of the engine: projected and lifecycle rows.

They take the next positions of their log (W12) under the same lock as commits, and the fold
skips them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from noetl_common.pg.database import Database, Row, Session
from noetl_contract.json import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """A row to append.

    Attributes:
        catalog_id: if None, that of the other rows of the execution.
        created_at: RFC 3339, now if None.
        outbox_id: id of the outbox row that publishes it; None if it is not published.
    """

    execution_id: int
    event_id: int
    event_type: str | None = None
    catalog_id: int | None = None
    parent_event_id: int | None = None
    node_id: str | None = None
    node_name: str | None = None
    node_type: str | None = None
    status: str | None = None
    error: str | None = None
    stack_trace: str | None = None
    duration: float | None = None
    context: Json = None
    result: Json = None
    meta: Json = None
    tenant_id: str | None = None
    organization_id: str | None = None
    created_at: str | None = None
    worker_id: str | None = None
    outbox_id: int | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """A row that was appended, with its position."""

    execution_id: int
    event_id: int
    position: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription after its last lifecycle row."""

    subscription_id: int
    path: str
    catalog_id: int
    state: str
    last_event_type: str
    updated_at: datetime


class Appends:
    """Append to logs; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "appends.sql")

    async def append(
        self, rows: Sequence[LogRow], *, only_to_known: bool = False
    ) -> list[Appended] | None:
        """Append the rows whose ids are new to their logs, all or none.

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

    async def register(self, wanted: LogRow, *, path: str, state: str) -> Subscription:
        """Register a subscription, or return the open one of the path unchanged."""
        async with self._db.transaction() as session:
            await session.execute("lock_subscription_path", path)
            found = await session.fetchrow("find_registered", path)
            if found is None:
                found = await self._move(session, wanted, path=path, state=state)
            return Subscription(**dict(found))

    async def change(
        self, row: LogRow, *, state: str, allowed: Iterable[str]
    ) -> tuple[Subscription | None, bool]:
        """Change a subscription if its state allows it; return its state and whether it changed."""
        async with self._db.transaction() as session:
            found = await session.fetchrow("lock_subscription", row.execution_id)
            if found is None or found["state"] not in allowed:
                return (None if found is None else Subscription(**dict(found))), False
            path, catalog_id = found["path"], found["catalog_id"]
            moved = await self._move(
                session,
                _lifecycle(row, path=path, catalog_id=catalog_id),
                path=path,
                state=state,
            )
            return Subscription(**dict(moved)), True

    async def _move(self, session: Session, row: LogRow, *, path: str, state: str) -> Row:
        ends = await self._lock(session, {row.execution_id})
        await self._insert(session, [row], ends)
        return await session.fetchone(
            "put_subscription",
            row.execution_id,
            path,
            row.catalog_id,
            state,
            row.event_type,
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
    ) -> list[Appended]:
        named = {row.execution_id: row.catalog_id for row in rows if row.catalog_id is not None}
        given = []
        for number, row in enumerate(rows):
            catalog_id = row.catalog_id
            if catalog_id is None:
                known = ends.get(row.execution_id)
                catalog_id = named.get(row.execution_id, 0) if known is None else known[1]
            given.append({**asdict(row), "number": number, "catalog_id": catalog_id})
        ids = sorted({row.execution_id for row in rows})
        found = await session.fetch(
            "append_rows", given, ids, [ends.get(one, (0, 0))[0] for one in ids]
        )
        return [Appended(row["execution_id"], row["event_id"], row["position"]) for row in found]


def subscription_context(subscription_id: int, path: str, catalog_id: int) -> JsonObject:
    """Return the context of the rows of a subscription's life."""
    return {
        "subscription_id": str(subscription_id),
        "path": path,
        "catalog_id": str(catalog_id),
    }


def _lifecycle(row: LogRow, *, path: str, catalog_id: int) -> LogRow:
    context = subscription_context(row.execution_id, path, catalog_id)
    values = {**asdict(row), "node_name": path, "catalog_id": catalog_id, "context": context}
    return LogRow(**values)

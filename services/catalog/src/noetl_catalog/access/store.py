"""Rows of keys, grants and the access audit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noetl_contract.access.audit import AccessAuditQuery, AccessRecord
from noetl_contract.access.grants import GrantBody, GrantPut
from noetl_contract.access.keys import GrantsRequest, KeyBody, KeyCreate
from noetl_contract.access.rights import Right, Role
from noetl_contract.json import Json
from noetl_pg.database import Row, Store

from noetl_catalog.access.keys import ApiKey

_COLUMNS = (
    "record_id",
    "occurred_at",
    "principal",
    "kind",
    "address",
    "right",
    "method",
    "route",
    "object",
    "outcome",
    "request_id",
    "count",
)
_FIELDS = {"access_right": "right", "requests": "count"}


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key with the hash of its secret, and whether it has expired."""

    body: KeyBody
    sha256: bytes = field(repr=False)
    is_expired: bool


class AccessStore(Store):
    """Statements and transactions on keys, grants and audit records, one method each."""

    async def insert_key(
        self, key: ApiKey, new: KeyCreate, *, created_by: str | None, record: AccessRecord
    ) -> KeyBody:
        """Store a new key and its audit record in one transaction."""
        async with self._db.transaction() as session:
            row = await session.fetchone(
                "insert_key",
                key.key_id,
                key.sha256,
                new.name,
                list(new.roles),
                list(new.grants),
                list(new.namespaces),
                list(new.pools),
                created_by,
                new.expires_at,
            )
            await session.execute("insert_records", *_columns([record]))
        return _key(row)

    async def ensure_key(self, key: ApiKey, role: Role) -> None:
        """Store a key of the settings; a stored key with the same secret is not changed."""
        await self._db.execute("ensure_key", key.key_id, key.sha256, f"{role} (settings)", [role])

    async def find_key(self, key_id: str) -> StoredKey | None:
        """Return a key, even an expired or revoked one."""
        row = await self._db.fetchrow("find_key", key_id)
        return StoredKey(_key(row), row["sha256"], row["is_expired"]) if row else None

    async def list_keys(self, *, with_revoked: bool, limit: int) -> list[KeyBody]:
        """Return keys, newest first."""
        rows = await self._db.fetch("list_keys", with_revoked, limit)
        return [_key(row) for row in rows]

    async def revoke_key(self, key_id: str, *, record: AccessRecord) -> datetime | None:
        """Revoke a key; return the time of its first revocation, or None for an unknown key."""
        async with self._db.transaction() as session:
            revoked_at: datetime | None = await session.fetchval("revoke_key", key_id)
            if revoked_at is not None:
                await session.execute("insert_records", *_columns([record]))
        return revoked_at

    async def touch_keys(self, used: Mapping[str, datetime]) -> None:
        """Write the times at which keys were last used."""
        await self._db.execute("touch_keys", list(used), list(used.values()))

    async def find_grants(self, proven: GrantsRequest) -> list[GrantBody]:
        """Return the grants that match a caller's proven claims, lowest rank first."""
        claims = [f"sub:{proven.subject}", *proven.values]
        rows = await self._db.fetch("find_grants", proven.kind, proven.issuer, claims)
        return [_grant(row) for row in rows]

    async def put_grant(
        self, grant_id: int, new: GrantPut, *, created_by: str | None, record: AccessRecord
    ) -> GrantBody:
        """Store a grant, or replace the grant for the same claim."""
        async with self._db.transaction() as session:
            row = await session.fetchone(
                "put_grant",
                grant_id,
                new.kind,
                new.issuer,
                new.claim,
                new.rank,
                list(new.roles),
                list(new.grants),
                list(new.namespaces),
                list(new.pools),
                created_by,
            )
            await session.execute("insert_records", *_columns([record]))
        return _grant(row)

    async def list_grants(self, *, limit: int) -> list[GrantBody]:
        """Return grants by kind and rank."""
        return [_grant(row) for row in await self._db.fetch("list_grants", limit)]

    async def delete_grant(self, grant_id: int, *, record: AccessRecord) -> bool:
        """Delete a grant; return False for an unknown grant."""
        async with self._db.transaction() as session:
            found = await session.fetchval("delete_grant", grant_id)
            if found is not None:
                await session.execute("insert_records", *_columns([record]))
        return found is not None

    async def insert_records(self, records: Sequence[AccessRecord]) -> None:
        """Store records, except those that are stored already."""
        if records:
            await self._db.execute("insert_records", *_columns(records))

    async def list_records(self, wanted: AccessAuditQuery) -> list[AccessRecord]:
        """Return records, newest first."""
        rows = await self._db.fetch(
            _statement_of(wanted),
            wanted.principal_name,
            wanted.right,
            wanted.outcome,
            wanted.object,
            wanted.since,
            wanted.until,
            wanted.limit,
        )
        return [
            AccessRecord(**{_FIELDS.get(name, name): value for name, value in row.items()})
            for row in rows
        ]

    async def delete_old_records(self, *, days: float, limit: int) -> None:
        """Delete records that are older than a number of days."""
        await self._db.execute("delete_old_records", timedelta(days=days), limit)


def _statement_of(wanted: AccessAuditQuery) -> str:
    """Return the name of the statement with the most selective index."""
    if wanted.object:
        return "list_records_of_object"
    if wanted.principal_name is not None:
        return "list_records_of_principal"
    if wanted.outcome is not None and (wanted.right is None or wanted.outcome != "allowed"):
        return "list_records_of_outcome"
    return "list_records" if wanted.right is None else "list_records_of_right"


def _columns(records: Iterable[AccessRecord]) -> list[list[Json]]:
    """Return the values of records by column; NULs, which PostgreSQL rejects, are replaced."""
    kept = list(records)
    return [[_storable(getattr(record, name)) for record in kept] for name in _COLUMNS]


def _storable(value: Json) -> Json:
    return value.replace("\0", "\ufffd")[:2000] if isinstance(value, str) else value


def _key(row: Row) -> KeyBody:
    return KeyBody(
        **{name: row[name] for name in KeyBody.model_fields if name not in _WORDS}, **_words(row)
    )


def _grant(row: Row) -> GrantBody:
    return GrantBody(
        **{name: row[name] for name in GrantBody.model_fields if name not in _WORDS}, **_words(row)
    )


_WORDS = frozenset({"roles", "grants"})


def _words(row: Row) -> dict[str, tuple[str, ...]]:
    """Return the roles and rights that this release knows; a later release may have stored more."""
    return {
        "roles": tuple(Role(word) for word in row["roles"] if word in set(Role)),
        "grants": tuple(Right(word) for word in row["grants"] if word in set(Right)),
    }

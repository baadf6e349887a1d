"""Rows of credentials, the keychain and the audit."""

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Literal, TypedDict, Unpack

from noetl_contract.http.scalars import parse_i64
from noetl_contract.http.secrets.credentials import CredentialBody, CredentialCreate
from noetl_contract.http.secrets.keychain import (
    AuditQuery,
    AuditRecord,
    KeychainEntryBody,
    KeychainPut,
    KeyStatus,
)
from noetl_contract.json import JsonObject
from noetl_pg.database import Row, Session, Store

from noetl_catalog.secrets.rows import AuditRow, Credential, KeychainRow, Renewal

type Table = Literal["credential", "keychain"]


class _Stored(TypedDict):
    """Columns of a keychain entry beside its names."""

    expires_at: datetime | None
    life_seconds: float
    data_encrypted: str
    audit: AuditRow


class SecretStore(Store):
    """One method per statement or transaction.

    A change of a row and its audit record are one transaction.
    """

    async def find_credential(self, identifier: str) -> Credential | None:
        """Return a credential by id, else by name."""
        row = await self._db.fetchrow("find_credential", parse_i64(identifier), identifier)
        return Credential(_credential(row), row["data_encrypted"]) if row else None

    async def find_named(self, name: str) -> CredentialBody | None:
        """Return the credential of exactly that name, without its data."""
        row = await self._db.fetchrow("find_named", name)
        return _credential(row) if row else None

    async def list_credentials(
        self, *, type_: str | None, part: str | None, limit: int, stems: list[str] | None = None
    ) -> list[CredentialBody]:
        """Return credentials without their data, newest first.

        With stems, path prefixes, those that playbooks below one of them may use.
        """
        rows = await self._db.fetch("list_credentials", type_, part, limit, stems)
        return [_credential(row) for row in rows]

    async def put_credential(
        self, credential_id: int, new: CredentialCreate, *, data_encrypted: str, audit: AuditRow
    ) -> CredentialBody:
        """Store a credential, replacing the credential of the same name."""
        async with self._db.transaction() as session:
            row = await session.fetchone(
                "put_credential",
                credential_id,
                new.name,
                new.type,
                data_encrypted,
                new.meta,
                new.tags,
                new.description,
                new.allowed_paths,
                new.allowed_hosts,
            )
            await _record(session, audit)
        return _credential(row)

    async def replace_data(self, read: Credential, *, data_encrypted: str, audit: AuditRow) -> bool:
        """Store new data of a credential; False when it is no longer as it was read."""
        async with self._db.transaction() as session:
            found = await session.fetchval(
                "replace_data", read.body.name, read.data_encrypted, data_encrypted
            )
            if found is not None:
                await _record(session, audit)
        return found is not None

    async def delete_credential(self, credential_id: int, *, audit: AuditRow) -> bool:
        """Delete a credential; False when it is gone already."""
        async with self._db.transaction() as session:
            found = await session.fetchval("delete_credential", credential_id)
            if found is not None:
                await _record(session, audit)
        return found is not None

    async def probe_credential(self) -> tuple[str, str] | None:
        """Return name and encrypted text of the credential that was written last."""
        row = await self._db.fetchrow("probe_credential")
        return (row["name"], row["data_encrypted"]) if row else None

    async def use_keychain(self, cache_key: str) -> KeychainRow | None:
        """Return an entry, and count the use of a valid one."""
        row = await self._db.fetchrow("use_keychain", cache_key)
        if row is None:
            row = await self._db.fetchrow("find_keychain", cache_key)
        return KeychainRow(**row) if row else None

    async def put_keychain(
        self,
        cache_key: str,
        new: KeychainPut,
        *,
        expires_at: datetime | None,
        life_seconds: float,
        data_encrypted: str,
        audit: AuditRow,
    ) -> datetime:
        """Store an entry, replacing the entry of the same key; return its expiry.

        Without an expiry it lives for ``life_seconds``.

        Raises:
            DataRejected: the catalog entry does not exist.
        """
        async with self._db.transaction() as session:
            return await _put(
                session,
                cache_key,
                new,
                expires_at=expires_at,
                life_seconds=life_seconds,
                data_encrypted=data_encrypted,
                audit=audit,
            )

    async def keep_renewed(
        self, cache_key: str, new: KeychainPut, *, holder: str, **stored: Unpack[_Stored]
    ) -> None:
        """Store a provider's secret like `put_keychain`, unless another process has the lease."""
        async with self._db.transaction() as session:
            if await session.fetchval("end_renewal", cache_key, holder) is not None:
                await _put(session, cache_key, new, **stored)

    async def claim_renewal(self, cache_key: str, holder: str, *, seconds: float) -> bool:
        """Take the lease on a secret; False while another process has it, or during a pause."""
        return (
            await self._db.fetchval("claim_renewal", cache_key, holder, timedelta(seconds=seconds))
            is not None
        )

    async def find_renewal(self, cache_key: str) -> Renewal | None:
        """Return the lease of another process on a secret, or its last failure; else None."""
        row = await self._db.fetchrow("find_renewal", cache_key)
        return Renewal(**row) if row else None

    async def end_renewal(self, cache_key: str, holder: str) -> None:
        """Release a lease, if it is still held."""
        await self._db.fetchval("end_renewal", cache_key, holder)

    async def fail_renewal(
        self,
        cache_key: str,
        holder: str,
        *,
        error: JsonObject,
        pause_seconds: float,
        longest_seconds: float,
    ) -> None:
        """Release a lease and begin a pause, longer after each failure in a row."""
        await self._db.execute(
            "fail_renewal", cache_key, holder, error, pause_seconds, longest_seconds
        )

    async def delete_keychain(self, cache_key: str, *, audit: AuditRow) -> bool:
        """Delete an entry; False when it does not exist."""
        async with self._db.transaction() as session:
            found = await session.fetchval("delete_keychain", cache_key)
            if found is not None:
                await _record(session, audit)
        return found is not None

    async def list_keychain(self, catalog_id: int, *, limit: int) -> list[KeychainEntryBody]:
        """Return the keychain entries of a catalog entry without their data, newest first."""
        rows = await self._db.fetch("list_keychain", catalog_id, limit)
        return [KeychainEntryBody(**_present(row)) for row in rows]

    async def delete_expired_keychain(self, *, expired_seconds: float, limit: int) -> None:
        """Delete entries that expired long ago, except those that renew themselves."""
        long_ago = timedelta(seconds=expired_seconds)
        await self._db.execute("delete_expired_keychain", long_ago, limit)
        await self._db.execute("delete_old_renewals", long_ago, limit)

    async def find_public_key(self, worker_id: str) -> str | None:
        """Return the key that a worker registered, as text."""
        key: str | None = await self._db.fetchval("find_public_key", worker_id)
        return key

    async def insert_audit(self, row: AuditRow) -> None:
        """Record a read."""
        async with self._db.transaction() as session:
            await _record(session, row)

    async def list_audit(self, wanted: AuditQuery, *, limit: int) -> list[AuditRecord]:
        """Return records, newest first."""
        statement = "list_audit"
        if wanted.execution_id is not None:
            statement = "list_audit_of_execution"
        elif wanted.credential is not None:
            statement = "list_audit_of_credential"
        rows = await self._db.fetch(
            statement,
            wanted.credential,
            wanted.execution_id,
            wanted.since,
            wanted.until,
            limit,
        )
        return [AuditRecord(**_known(row)) for row in rows]

    async def delete_old_audit(self, *, days: float, limit: int) -> None:
        """Delete older audit records."""
        await self._db.execute("delete_old_audit", timedelta(days=days), limit)

    async def page_records(
        self, table: Table, *, after: str, limit: int
    ) -> list[tuple[str, str, str]]:
        """Return (key, name, encrypted text) of records in order of key.

        A record is bound to its name, which is unique in its table.
        """
        rows = await self._db.fetch(f"page_{table}", after, limit)
        return [(row["key"], row["name"], row["data_encrypted"]) for row in rows]

    async def rewrap_records(
        self, table: Table, changes: Sequence[tuple[str, str, str]]
    ) -> frozenset[str]:
        """Write new texts, ``(key, text read, new text)``, over records unchanged since their read.

        Returns the keys of the records written.
        """
        rows = await self._db.fetch(
            f"rewrap_{table}",
            [key for key, _, _ in changes],
            [seen for _, seen, _ in changes],
            [text for _, _, text in changes],
        )
        return frozenset(row["key"] for row in rows)

    async def count_key_versions(self) -> KeyStatus:
        """Count records by table and by the version of the key that wraps theirs."""
        rows = await self._db.fetch("count_key_versions")
        counted: dict[str, dict[str, int]] = {"credential": {}, "keychain": {}}
        for row in sorted(rows, key=itemgetter("version")):
            counted[row["origin"]][row["version"]] = row["amount"]
        return KeyStatus(**counted)


async def _put(
    session: Session, cache_key: str, new: KeychainPut, **stored: Unpack[_Stored]
) -> datetime:
    expiry: datetime = await session.fetchval(
        "put_keychain",
        cache_key,
        new.keychain_name,
        new.catalog_id,
        new.credential_type,
        new.cache_type,
        new.scope_type,
        new.execution_id,
        new.parent_execution_id,
        stored["data_encrypted"],
        stored["expires_at"],
        timedelta(seconds=stored["life_seconds"]),
        new.auto_renew,
        new.renew_config,
    )
    await _record(session, stored["audit"])
    return expiry


async def _record(session: Session, row: AuditRow) -> None:
    await session.execute("insert_audit", *astuple(row))


def _credential(row: Row) -> CredentialBody:
    return CredentialBody(**_present(row))


def _known(row: Row) -> JsonObject:
    """Return a record; our own field for the caller is there only when the caller is known."""
    return {name: value for name, value in row.items() if name != "principal" or value}


def _present(row: Row) -> JsonObject:
    """Return the columns with a value: answers leave NULLs out."""
    return {name: value for name, value in row.items() if value is not None}

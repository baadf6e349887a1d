"""The existing server's tables, read in one transaction that can't write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import orjson
from noetl_contract.json import Json
from noetl_pg.database import Row, Session
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries

from noetl_migrate.moving.keys import Keys
from noetl_migrate.moving.rows import OldCredential, OldEntry, OldKeychainEntry, OldWorker

_PAGE = 50
_SECONDS = 60.0


class OldDatabase:
    """Reads pages by key; `opened` makes one.

    Args:
        session: in a transaction of its own.
        keys: of the existing server.
        name: where it is.
    """

    def __init__(self, session: Session, keys: Keys, name: str) -> None:
        self._session = session
        self._keys = keys
        self.name = name

    async def entries(self) -> AsyncIterator[OldEntry]:
        """Return all versions, path by path in their order."""
        path, version = "", -32768
        while rows := await self._session.fetch("page_old_catalog", path, version, _PAGE):
            for row in rows:
                path, version = row["path"], row["version"]
                yield OldEntry(
                    catalog_id=row["catalog_id"],
                    path=path,
                    version=version,
                    kind=row["kind"],
                    content=row["content"] or "",
                    created_at=_utc(row["created_at"]),
                )

    async def credentials(self) -> AsyncIterator[OldCredential]:
        """Return the credentials in order of id."""
        async for row in self._pages("page_old_credentials", "id", -1):
            yield OldCredential(
                number=row["id"],
                name=row["name"],
                kind=row["type"],
                secret=self._keys.open(row["data_encrypted"], row=f"credential:{row['name']}"),
                meta=_json(row["meta"]),
                tags=row["tags"],
                description=row["description"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
            )

    async def keychain(self) -> AsyncIterator[OldKeychainEntry]:
        """Return the entries in order of key."""
        async for row in self._pages("page_old_keychain", "cache_key", ""):
            yield OldKeychainEntry(
                keychain_name=row["keychain_name"],
                catalog_id=row["catalog_id"],
                scope_type=row["scope_type"],
                secret=self._keys.open(row["data_encrypted"], row=f"keychain:{row['cache_key']}"),
                expires_at=row["expires_at"],
                is_expired=row["is_expired"],
                execution_id=row["execution_id"],
                credential_type=row["credential_type"],
                cache_type=row["cache_type"],
                auto_renew=row["auto_renew"],
                renew_config=_json(row["renew_config"]),
            )

    async def workers(self) -> AsyncIterator[OldWorker]:
        """Return the registrations in order of id."""
        async for row in self._pages("page_old_workers", "runtime_id", -1):
            yield OldWorker(
                number=row["runtime_id"],
                name=row["name"],
                uri=row["uri"],
                status=row["status"],
                labels=_json(row["labels"]),
                capabilities=_json(row["capabilities"]),
                capacity=row["capacity"],
                runtime=_json(row["runtime"]),
                heartbeat=row["heartbeat"],
            )

    async def _pages(self, statement: str, key: str, first: object) -> AsyncIterator[Row]:
        after = first
        while rows := await self._session.fetch(statement, after, _PAGE):
            for row in rows:
                after = row[key]
                yield row


@asynccontextmanager
async def opened(dsn: str, keys: Keys) -> AsyncIterator[OldDatabase]:
    """Read a database as it is at one moment, until the block ends.

    Raises:
        NoetlError: it can't be reached, or doesn't let us read; the text has no login.
    """
    queries = Queries.load("noetl_migrate.moving")
    address = urlsplit(dsn)
    name = f"{address.hostname or 'localhost'}:{address.port or 5432}{address.path}"
    async with (
        open_single(dsn, queries, name="noetl-server import", seconds=_SECONDS) as database,
        database.transaction() as session,
    ):
        await session.execute_text(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY /* import */"
        )
        yield OldDatabase(session, keys, name)


def _json(text: str | None) -> Json:
    return None if text is None else orjson.loads(text)


def _utc(moment: datetime | None) -> datetime | None:
    """Return a time of the existing server, whose catalog keeps none of the zone."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)

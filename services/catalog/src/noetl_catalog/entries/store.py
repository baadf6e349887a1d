"""Rows of documents and their versions."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from noetl_contract.access.principal import Principal
from noetl_contract.http.catalog.entries import CatalogEntry
from noetl_contract.json import Json
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.plugins.names import PluginPin, PluginReference
from noetl_contract.rpc.catalog import CatalogCounts
from noetl_pg.database import Session, Store

from noetl_catalog.entries.documents import Document
from noetl_catalog.entries.triggers import SubscriptionDocument, TriggerDocument

type AlsoKeep = Callable[[Session, int], Awaitable[None]]
"""Writes what belongs to a version, in its transaction."""


@dataclass(frozen=True, slots=True)
class Newer:
    """A path has another newest version than was expected; 0 where it has none."""

    version: int


class EntryStore(Store):
    """One method per statement or transaction."""

    async def insert_version(
        self,
        catalog_id: int,
        new: Document,
        *,
        libraries: Mapping[str, LibraryLock] | None = None,
        also: AlsoKeep | None = None,
        newest: int | None = None,
        registrant: Principal | None = None,
    ) -> int | Newer | None:
        """Keep a document as the next version of its path and return the version.

        Concurrent calls for one path get different versions. None: the kind is unknown.
        ``libraries`` are the locks of its steps by digest of their requirements; ``also`` writes
        in the same transaction, with the version. With ``newest`` the document is kept only if
        that is the newest version that was not taken out, 0 where there is none. ``registrant`` is
        the caller that registers it.

        Raises:
            DataRejected: the path has used up its version numbers, or PostgreSQL refuses a value.
        """
        async with self._db.transaction() as session:
            lock = await session.fetchrow("lock_path", new.path, new.kind)
            if lock is None or not lock["kind_is_known"]:
                return None
            if newest is not None:
                found: int = await session.fetchval("find_newest_version", new.path)
                if found != newest:
                    return Newer(found)
            version: int = await session.fetchval(
                "insert_version",
                catalog_id,
                new.path,
                new.kind,
                new.content,
                new.layout,
                new.payload,
                new.meta,
                new.metadata,
                {digest: lock.model_dump() for digest, lock in libraries.items()}
                if libraries
                else None,
                registrant and registrant.model_dump(mode="json", exclude_defaults=True),
            )
            if also is not None:
                await also(session, version)
            return version

    async def list_entries(
        self,
        *,
        kind: str | None,
        path: str | None,
        is_agent: bool,
        capabilities: list[str],
        limit: int,
        stems: list[str] | None = None,
        whole: bool = True,
    ) -> list[tuple[CatalogEntry, Json]]:
        """Return entries, each with the metadata of its document, newest first.

        Every one of the capabilities is wanted, and a path below one of the stems, if given;
        content, layout and payload only of whole entries.
        """
        rows = await self._db.fetch(
            "list_entries", kind, path, is_agent, capabilities, limit, stems, whole
        )
        return [(CatalogEntry(**row), row["metadata"]) for row in rows]

    async def find_by_id(
        self, catalog_id: int, *, whole: bool, even_deleted: bool = False
    ) -> CatalogEntry | None:
        """Return an entry; content, layout and payload only if asked for."""
        row = await self._db.fetchrow("find_by_id", catalog_id, whole, even_deleted)
        return CatalogEntry(**row) if row else None

    async def find_version(
        self, path: str, *, version: int | None, whole: bool, even_deleted: bool = False
    ) -> CatalogEntry | None:
        """Return one version of a path, or the newest."""
        row = await self._db.fetchrow("find_version", path, version, whole, even_deleted)
        return CatalogEntry(**row) if row else None

    async def set_deleted(self, path: str, *, version: int | None, is_deleted: bool) -> list[int]:
        """Delete or restore versions of a path; return the numbers of those that changed."""
        rows = await self._db.fetch("set_deleted", path, version, is_deleted)
        return sorted(row["version"] for row in rows)

    async def find_lock(self, catalog_id: int, digest: str) -> LibraryLock | None:
        """Return a version's lock for requirements, or None if it has none."""
        kept = await self._db.fetchval("find_lock", catalog_id, digest)
        return None if kept is None else LibraryLock.model_validate(kept)

    async def find_plugins(self, asked: Mapping[str, PluginReference]) -> dict[str, PluginPin]:
        """Return the versions of existing plug-ins by the requested names.

        If a reference has no version, the newest version is returned.
        """
        references = list(asked.values())
        paths = [one.path for one in references]
        rows = await self._db.fetch("find_plugins", paths, [one.version for one in references])
        found = {
            PluginReference(row["asked_path"], row["asked_version"]): PluginPin(
                path=row["asked_path"],
                version=row["version"],
                catalog_id=row["catalog_id"],
                digest=row["digest"],
            )
            for row in rows
            if row["digest"] is not None
        }
        return {name: found[one] for name, one in asked.items() if one in found}

    async def find_missing(
        self, asked: Collection[tuple[str, int | None]]
    ) -> set[tuple[str, int | None]]:
        """Return the unregistered ones among paths with a version, or None for any version."""
        wanted = list(asked)
        rows = await self._db.fetch(
            "find_missing", [path for path, _ in wanted], [version for _, version in wanted]
        )
        return {(row["path"], row["version"]) for row in rows}

    async def count_catalog(self, *, silent_seconds: float) -> CatalogCounts:
        """Count versions of playbooks, and workers with a recent heartbeat."""
        row = await self._db.fetchone("count_catalog", timedelta(seconds=silent_seconds))
        return CatalogCounts(**row)

    async def find_registrant(self, catalog_id: int) -> Json:
        """Return the stored registrant of a version, or None if it is unknown."""
        kept: Json = await self._db.fetchval("find_registrant", catalog_id)
        return kept

    async def list_newest_subscriptions(self, *, limit: int) -> list[SubscriptionDocument]:
        """Return the newest version of each subscription, by path."""
        rows = await self._db.fetch("list_newest_subscriptions", limit)
        return [SubscriptionDocument(**row) for row in rows]

    async def list_newest_triggers(self, *, limit: int) -> list[TriggerDocument]:
        """Return the newest version of each trigger, by path."""
        rows = await self._db.fetch("list_newest_triggers", limit)
        return [TriggerDocument(**row) for row in rows]

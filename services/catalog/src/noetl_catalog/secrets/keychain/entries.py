"""Keychain entries: their keys, and their definitions in playbooks."""

import asyncio
from collections import OrderedDict

from noetl_engine.playbook import PlaybookError, parse_playbook

from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.secrets.keychain.definition import Definition

SCOPES = frozenset({"local", "global", "shared"})


class KeychainEntries:
    """Entries of registered playbooks, cached: a version never changes."""

    def __init__(self, store: EntryStore, *, settings: EntrySettings) -> None:
        self._store = store
        self._settings = settings
        self._cache: OrderedDict[int, dict[str, Definition | None]] = OrderedDict()

    async def find(self, catalog_id: int, alias: str) -> Definition | None:
        """Return an entry; None without one or its provider, or when the playbook is unreadable."""
        entries = self._cache.get(catalog_id)
        if entries is None:
            entries = await self._read(catalog_id)
            self._cache[catalog_id] = entries
            while len(self._cache) > self._settings.catalog_content_cache_entries:
                self._cache.popitem(last=False)
        return entries.get(alias)

    async def _read(self, catalog_id: int) -> dict[str, Definition | None]:
        found = await self._store.find_by_id(catalog_id, whole=True, even_deleted=True)
        if found is None or not found.content:
            return {}
        try:
            async with asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                playbook = await asyncio.to_thread(
                    parse_playbook, found.content, more_kinds=self._settings.more_kinds()
                )
        except (PlaybookError, TimeoutError):
            return {}
        entries: dict[str, Definition | None] = {}
        for entry in playbook.keychain:
            entries.setdefault(entry.name, Definition.read(entry.raw))
        return entries


def cache_key(name: str, *, catalog_id: int, scope_type: str, execution_id: int | None) -> str:
    """Return the key of an entry; unknown scopes count as global."""
    match scope_type:
        case "local":
            return f"{name}:{catalog_id}:{'local' if execution_id is None else execution_id}"
        case "shared" if execution_id is None:
            return f"{name}:{catalog_id}:shared"
        case "shared":
            return f"{name}:{catalog_id}:shared:{execution_id}"
        case _:
            return f"{name}:{catalog_id}:global"

"""Keychain entries: their keys, and their definitions in playbooks."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from noetl_engine.playbook import PlaybookError, parse_playbook

from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.secrets.keychain.definition import Definition


@dataclass(frozen=True, slots=True)
class _Keychain:
    path: str | None
    entries: dict[str, Definition]


class KeychainEntries:
    """Entries of registered playbooks, cached: a version never changes."""

    def __init__(self, store: EntryStore, *, settings: EntrySettings) -> None:
        self._store = store
        self._settings = settings
        self._cache: OrderedDict[int, _Keychain] = OrderedDict()

    async def find(self, catalog_id: int, alias: str) -> Definition | None:
        """Return an entry; None without one, or when the playbook is unreadable."""
        return (await self._keychain(catalog_id)).entries.get(alias)

    async def path_of(self, catalog_id: int) -> str | None:
        """Return the path of a playbook, deleted or not; None when there is none."""
        return (await self._keychain(catalog_id)).path

    async def _keychain(self, catalog_id: int) -> _Keychain:
        keychain = self._cache.get(catalog_id)
        if keychain is None:
            keychain = await self._read(catalog_id)
            self._cache[catalog_id] = keychain
            while len(self._cache) > self._settings.catalog_content_cache_entries:
                self._cache.popitem(last=False)
        return keychain

    async def _read(self, catalog_id: int) -> _Keychain:
        found = await self._store.find_by_id(catalog_id, whole=True, even_deleted=True)
        if found is None:
            return _Keychain(None, {})
        return _Keychain(found.path, await self._entries(found.content))

    async def _entries(self, content: str | None) -> dict[str, Definition]:
        if not content:
            return {}
        try:
            async with asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                playbook = await asyncio.to_thread(
                    parse_playbook, content, more_kinds=self._settings.more_kinds()
                )
        except (PlaybookError, TimeoutError):
            return {}
        entries: dict[str, Definition] = {}
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

"""Reads of documents, one function per request."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.catalog.entries import CatalogListRequest
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.entries.bodies import agent_body, entry_body, page_body
from noetl_catalog.entries.documents import kind_word
from noetl_catalog.entries.requested_entry import ENTRY_TEXTS, PLAYBOOK_TEXTS, find_entry
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import Entry, EntryFilter, EntryStore
from noetl_catalog.entries.ui_schema import read_form
from noetl_catalog.rpc import by_subject, refused


class EntryHandlers:
    """Playbooks and other documents as readers see them."""

    def __init__(
        self, store: EntryStore, *, settings: EntrySettings, parsers: asyncio.Semaphore
    ) -> None:
        self._store = store
        self._settings = settings
        self._parsers = parsers
        self._contents: OrderedDict[int, bytes] = OrderedDict()

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject(
            {
                "list": self.on_list,
                "agents": self.on_agents,
                "resource": self.on_resource,
                "ui_schema": self.on_ui_schema,
                "resolve": self.on_resolve,
                "content": self.on_content,
                "counts": self.on_counts,
            }
        )

    async def on_list(self, request: JsonObject) -> bytes:
        """List entries, newest first."""
        entries = await self._listed(CatalogListRequest.model_validate(request))
        show = page_body if request.get("for_page") else entry_body
        return self._list_reply([show(entry) for entry in entries])

    async def on_agents(self, request: JsonObject) -> bytes:
        """List agents, newest first, with the metadata about their abilities."""
        wanted = CatalogListRequest.model_validate(request | {"agent_only": True})
        entries = await self._listed(wanted)
        return self._list_reply([agent_body(entry) for entry in entries])

    async def on_resource(self, request: JsonObject) -> RpcReply | bytes:
        """Return one entry whole."""
        found = await find_entry(self._store, request, whole=True, texts=ENTRY_TEXTS)
        return found if isinstance(found, RpcReply) else encode_reply(entry_body(found))

    async def on_ui_schema(self, request: JsonObject) -> RpcReply | bytes:
        """Return the form that a document's workload asks for."""
        found = await find_entry(self._store, request, whole=True, texts=ENTRY_TEXTS)
        if isinstance(found, RpcReply):
            return found
        try:
            async with self._parsers, asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                form = await asyncio.to_thread(read_form, found.content or "")
        except TimeoutError:
            return refused(503, "The document could not be read in time")
        return encode_reply(
            {
                "path": found.path,
                "version": found.version,
                "kind": found.kind.lower(),
                "title": form.title,
                "description_markdown": form.description,
                "exposed_in_ui": form.is_exposed,
                "fields": form.fields,
                "generated_at": rfc3339(datetime.now(UTC)),
            }
        )

    async def on_resolve(self, request: JsonObject) -> RpcReply:
        """Return the version that an execution would run."""
        found = await find_entry(self._store, request, whole=False, texts=PLAYBOOK_TEXTS)
        if isinstance(found, RpcReply):
            return found
        return RpcReply(
            body={
                "catalog_id": found.catalog_id,
                "path": found.path,
                "version": found.version,
                "kind": found.kind,
            }
        )

    async def on_content(self, request: JsonObject) -> RpcReply | bytes:
        """Return the text of one version, deleted ones included; it never changes."""
        catalog_id = int(request["catalog_id"])
        cached = self._contents.get(catalog_id)
        if cached is not None:
            self._contents.move_to_end(catalog_id)
            return cached
        entry = await self._store.find_by_id(catalog_id, whole=True, even_deleted=True)
        if entry is None:
            return refused(404, f"Catalog entry not found: {catalog_id}")
        content = entry.content
        if not content and entry.payload is not None:
            content = orjson.dumps(entry.payload).decode()
        if not content:
            return refused(404, f"No playbook content found for catalog_id: {catalog_id}")
        answer = encode_reply(
            {
                "catalog_id": entry.catalog_id,
                "path": entry.path,
                "version": entry.version,
                "kind": entry.kind,
                "content": content,
            }
        )
        self._contents[catalog_id] = answer
        while len(self._contents) > self._settings.catalog_content_cache_entries:
            self._contents.popitem(last=False)
        return answer

    async def on_counts(self, _request: JsonObject) -> RpcReply:
        """Count versions of playbooks, and workers that were heard lately."""
        counts = await self._store.count_catalog(
            silent_seconds=self._settings.runtime_offline_seconds
        )
        return RpcReply(body=counts)

    def _list_reply(self, entries: list[JsonObject]) -> bytes:
        """Encode a list; ``truncated`` is there only when older entries may be left out."""
        body: JsonObject = {"entries": entries}
        if len(entries) >= self._settings.catalog_list_limit:
            body["truncated"] = True
        return encode_reply(body)

    async def _listed(self, wanted: CatalogListRequest) -> list[Entry]:
        capabilities = list(wanted.capabilities or ())
        if wanted.capability:
            capabilities.append(wanted.capability)
        kind = None if wanted.resource_type is None else kind_word(wanted.resource_type)
        return await self._store.list_entries(
            EntryFilter(
                kind=kind,
                path=wanted.path,
                is_agent=wanted.agent_only or bool(capabilities),
                capabilities=capabilities,
            ),
            limit=self._settings.catalog_list_limit,
        )

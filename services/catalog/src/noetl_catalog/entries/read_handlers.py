"""Operations that read documents, one function each."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

import orjson
from noetl_bus.rpc import Encoded, Handlers, answers
from noetl_contract.http.catalog.entries import (
    CatalogEntry,
    CatalogListAnswer,
    UiSchema,
)
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import Json, JsonObject
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    AGENTS,
    CONTENT,
    COUNTS,
    LIBRARIES,
    LIST,
    RESOLVE,
    RESOURCE,
    SUBSCRIPTION_LISTENER,
    TRIGGERS,
    UI_SCHEMA,
    AgentPage,
    CatalogCounts,
    ContentRequest,
    EntryContent,
    EntryName,
    EntryPage,
    LibraryName,
    ListenerRequest,
    ListenerSubscription,
    ResolvedEntry,
    TriggerList,
)
from noetl_contract.rpc.models import Nothing

from noetl_catalog.entries.documents import kind_word
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.reach import read_registrant, stems
from noetl_catalog.entries.requested_entry import ENTRY_TEXTS, PLAYBOOK_TEXTS, find_entry
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.entries.triggers import (
    MOST_SUBSCRIPTIONS,
    MOST_TRIGGERS,
    built_in,
    find_listener,
    read_triggers,
)
from noetl_catalog.entries.ui_schema import read_form


class ReadHandlers(Handlers):
    """Operations that read playbooks and other documents."""

    def __init__(self, store: EntryStore, *, settings: EntrySettings, parsers: Parsers) -> None:
        self._store = store
        self._settings = settings
        self._parsers = parsers
        self._contents: OrderedDict[int, Encoded[EntryContent]] = OrderedDict()

    @answers(LIST)
    async def on_list(self, request: EntryPage) -> CatalogListAnswer:
        """List entries, newest first."""
        listed = await self._listed(request, is_agent=request.agent_only)
        return self._list_answer(
            [page_entry(*found) if request.for_page else found[0] for found in listed]
        )

    @answers(AGENTS)
    async def on_agents(self, request: AgentPage) -> CatalogListAnswer:
        """List agents, newest first, with the metadata about their capabilities."""
        listed = await self._listed(request, is_agent=True)
        return self._list_answer([agent_entry(*found) for found in listed])

    @answers(RESOURCE)
    async def on_resource(self, request: EntryName) -> CatalogEntry | Refusal:
        """Return one entry with its content."""
        return await find_entry(self._store, request, whole=True, texts=ENTRY_TEXTS)

    @answers(UI_SCHEMA)
    async def on_ui_schema(self, request: EntryName) -> UiSchema | Refusal:
        """Return the form for a document's workload."""
        found = await find_entry(self._store, request, whole=True, texts=ENTRY_TEXTS)
        if isinstance(found, Refusal):
            return found
        form = await self._parsers.run(read_form, found.content or "")
        if isinstance(form, Refusal):
            return form
        return UiSchema(
            path=found.path,
            version=found.version,
            kind=found.kind.lower(),
            title=form.title,
            description_markdown=form.description,
            exposed_in_ui=form.is_exposed,
            fields=form.fields,
            generated_at=rfc3339(datetime.now(UTC)),
        )

    @answers(RESOLVE)
    async def on_resolve(self, request: EntryName) -> ResolvedEntry | Refusal:
        """Return the version that an execution would use."""
        found = await find_entry(self._store, request, whole=False, texts=PLAYBOOK_TEXTS)
        if isinstance(found, Refusal):
            own = built_in(path=request.path) if request.catalog_id is None else None
            return found if own is None else ResolvedEntry.model_validate(own, from_attributes=True)
        entry = ResolvedEntry.model_validate(found, from_attributes=True)
        if found.kind != "subscription":
            return entry
        who = read_registrant(await self._store.find_registrant(entry.catalog_id))
        return entry.model_copy(update={"registrant": who})

    @answers(CONTENT)
    async def on_content(self, request: ContentRequest) -> Encoded[EntryContent] | Refusal:
        """Return the text of one version, even a deleted one; the text never changes."""
        catalog_id = request.catalog_id
        cached = self._contents.get(catalog_id)
        if cached is not None:
            self._contents.move_to_end(catalog_id)
            return cached
        entry = built_in(catalog_id=catalog_id) or await self._store.find_by_id(
            catalog_id, whole=True, even_deleted=True
        )
        if entry is None:
            return Refusal(404, f"Catalog entry not found: {catalog_id}")
        text = entry.content
        if not text and entry.payload is not None:
            text = orjson.dumps(entry.payload).decode()
        if not text:
            return Refusal(404, f"No playbook content found for catalog_id: {catalog_id}")
        content = EntryContent(**entry.model_dump() | {"content": text})
        answer = Encoded[EntryContent](CONTENT.encode_answer(content))
        self._contents[catalog_id] = answer
        while len(self._contents) > self._settings.catalog_content_cache_entries:
            self._contents.popitem(last=False)
        return answer

    @answers(LIBRARIES)
    async def on_libraries(self, request: LibraryName) -> LibraryLock:
        """Return the lock of a step's libraries, or an empty lock if the version has none."""
        found = await self._store.find_lock(request.catalog_id, request.digest)
        return found or LibraryLock(lock=None, python=None, reason=None)

    @answers(TRIGGERS)
    async def on_triggers(self, _request: Nothing) -> TriggerList:
        """List the triggers: playbooks that are started when executions end."""
        documents = await self._store.list_newest_triggers(limit=MOST_TRIGGERS)
        return TriggerList(triggers=await asyncio.to_thread(read_triggers, documents))

    @answers(COUNTS)
    async def on_counts(self, _request: Nothing) -> CatalogCounts:
        """Count versions of playbooks, and workers with a recent heartbeat."""
        return await self._store.count_catalog(
            silent_seconds=self._settings.runtime_offline_seconds
        )

    @answers(SUBSCRIPTION_LISTENER)
    async def on_listener(self, request: ListenerRequest) -> ListenerSubscription | Refusal:
        """Return the subscription whose gateway path ends in a name."""
        listener = request.listener
        documents = await self._store.list_newest_subscriptions(limit=MOST_SUBSCRIPTIONS)
        found = await asyncio.to_thread(find_listener, documents, listener)
        if found is None:
            return Refusal(404, f"No push subscription for ingress listener '{listener[:200]}'")
        return found

    def _list_answer(self, entries: list[CatalogEntry]) -> CatalogListAnswer:
        """Return a list; the field ``truncated`` is only set if older entries may be missing."""
        if len(entries) < self._settings.catalog_list_limit:
            return CatalogListAnswer(entries=entries)
        return CatalogListAnswer(entries=entries, truncated=True)

    async def _listed(
        self, wanted: AgentPage | EntryPage, *, is_agent: bool
    ) -> list[tuple[CatalogEntry, Json]]:
        capabilities = list(wanted.capabilities or ())
        if wanted.capability:
            capabilities.append(wanted.capability)
        kind = None if wanted.resource_type is None else kind_word(wanted.resource_type)
        return await self._store.list_entries(
            kind=kind,
            path=wanted.path,
            is_agent=is_agent or bool(capabilities),
            capabilities=capabilities,
            limit=self._settings.catalog_list_limit,
            stems=stems(wanted.principal),
            whole=not wanted.brief,
        )


def agent_entry(entry: CatalogEntry, metadata: Json) -> CatalogEntry:
    """Return the entry of an agent with its metadata in ``payload``, as UIs expect it."""
    if metadata is None or not (entry.payload is None or isinstance(entry.payload, dict)):
        return entry
    payload = {"metadata": metadata} | (entry.payload or {})
    return entry.model_copy(update={"payload": payload})


def page_entry(entry: CatalogEntry, metadata: Json) -> CatalogEntry:
    """Return an entry in the form that the list of a page expects.

    The page reads name, description and number of steps from ``payload`` and the date from
    ``meta``. Keys of the document itself are kept.
    """
    entry = agent_entry(entry, metadata)
    changes: JsonObject = {}
    if isinstance(entry.layout, list) and isinstance(entry.payload, dict):
        changes["payload"] = {"workflow": entry.layout} | entry.payload
    if entry.meta is None or isinstance(entry.meta, dict):
        changes["meta"] = {"registered_at": entry.created_at} | (entry.meta or {})
    return entry.model_copy(update=changes)

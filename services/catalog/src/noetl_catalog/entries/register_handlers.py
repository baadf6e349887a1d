"""Operations that register, validate, delete and restore documents."""

from collections.abc import Awaitable, Callable, Sequence

from noetl_bus.rpc import Handlers, answers
from noetl_common.errors import NoetlError, Transient
from noetl_common.ids import SnowflakeIds
from noetl_contract.access.principal import Principal
from noetl_contract.http.catalog.entries import (
    BatchAnswer,
    BatchResult,
    CatalogEntry,
    DocumentProblem,
    MovedAnswer,
    RegisterAnswer,
    ValidateAnswer,
)
from noetl_contract.plugins.names import read_reference
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    DELETE,
    REGISTER,
    REGISTER_BATCH,
    RESTORE,
    VALIDATE,
    CheckDocument,
    DocumentRequest,
    EntryName,
    RegisterDocument,
    RegisterDocuments,
)
from noetl_engine.documents import kind_of
from noetl_engine.playbook.lint import Finding, Severity
from noetl_engine.playbook.plugins import NamedPlugin, in_order, plugins_in, unknown_plugins
from noetl_engine.triggers.starts import StartedPlaybook, started_in, unknown_playbooks
from noetl_pg.database import Session

from noetl_catalog.entries.documents import (
    Document,
    InvalidDocument,
    document_findings,
    read_document,
)
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.reach import (
    change_refused,
    dispatch_refused,
    schedule_refused,
    trigger_refused,
)
from noetl_catalog.entries.requested_entry import ENTRY_TEXTS, find_entry
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore, Newer
from noetl_catalog.entries.triggers import MOST_SUBSCRIPTIONS, find_listener
from noetl_catalog.libraries import NO_LIBRARIES, Resolved, Resolver
from noetl_catalog.schedules.store import NewSchedule, ScheduleStore

type Changed = Callable[[], Awaitable[None]]
"""A function that notifies the readers of a kind of document of a change."""


class RegisterHandlers(Handlers):
    """Operations that register, validate, delete and restore documents."""

    def __init__(
        self,
        store: EntryStore,
        *,
        settings: EntrySettings,
        ids: SnowflakeIds,
        parsers: Parsers,
        schedules: ScheduleStore,
        resolver: Resolver,
        changed: Changed,
        triggers_changed: Changed | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._ids = ids
        self._parsers = parsers
        self._schedules = schedules
        self._resolver = resolver
        self._changed = {"schedule": changed, "trigger": triggers_changed}

    @answers(REGISTER)
    async def on_register(self, request: RegisterDocument) -> RegisterAnswer | Refusal:
        """Store a document as the next version of its path.

        With ``instead_of``, the id or path of an entry, the document must belong to its path.
        """
        path = None
        if request.instead_of is not None:
            known = await find_entry(
                self._store,
                request.instead_of.model_copy(update={"principal": request.principal}),
                whole=False,
                texts=ENTRY_TEXTS,
            )
            if isinstance(known, Refusal):
                return known
            path = known.path
        return await self._register(
            request, path=path, principal=request.principal, newest=request.newest_version
        )

    @answers(REGISTER_BATCH)
    async def on_register_batch(self, request: RegisterDocuments) -> BatchAnswer:
        """Store many documents; a refused document does not affect the others."""
        results: list[BatchResult] = []
        for index, item in enumerate(request.items):
            try:
                stored = await self._register(item, path=None, principal=request.principal)
            except Transient:
                # A transient error is not the fault of this document or of the next.
                raise
            except NoetlError as error:
                stored = Refusal(error.http_status, error.message)
            results.append(_batch_result(index, stored))
        failed = sum(result.status != "registered" for result in results)
        return BatchAnswer(registered=len(results) - failed, failed=failed, results=results)

    @answers(VALIDATE)
    async def on_validate(self, request: CheckDocument) -> ValidateAnswer | Refusal:
        """Return all findings of a document without storing it."""
        findings = await self._parsers.run(
            document_findings,
            request.content,
            resource_type=_resource_type(request),
            more_kinds=self._settings.more_kinds(),
        )
        if isinstance(findings, Refusal):
            return findings
        named = await self._parsers.run(plugins_in, request.content)
        if isinstance(named, list) and named:
            findings = in_order([*findings, *await _unregistered(self._store, named)])
        kind = kind_of(request.content) or _resource_type(request).lower()
        starts = await self._parsers.run(started_in, request.content, kind)
        if isinstance(starts, tuple) and starts:
            unknown = await self._unknown(starts, request.principal)
            findings = in_order([*findings, *unknown])
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        return ValidateAnswer(
            valid=not errors,
            errors=[finding.placed for finding in errors],
            problems=[
                DocumentProblem.model_validate(finding, from_attributes=True)
                for finding in findings
            ],
        )

    @answers(DELETE)
    async def on_delete(self, request: EntryName) -> MovedAnswer | Refusal:
        """Delete one version, or all versions of a path; they can be restored."""
        return await self._moved(request, is_deletion=True)

    @answers(RESTORE)
    async def on_restore(self, request: EntryName) -> MovedAnswer | Refusal:
        """Restore deleted versions."""
        return await self._moved(request, is_deletion=False)

    async def _notify(self, kind: str) -> None:
        """Notify the readers of a kind of document of a change."""
        if (changed := self._changed.get(kind.lower())) is not None:
            await changed()

    async def _moved(self, name: EntryName, *, is_deletion: bool) -> MovedAnswer | Refusal:
        named = await find_entry(
            self._store, name, whole=False, texts=ENTRY_TEXTS, even_deleted=True
        )
        if isinstance(named, Refusal):
            return named
        if (refused := change_refused(name.principal, named.path)) is not None:
            return refused
        is_one = name.catalog_id is not None or name.version is not None
        versions = await self._store.set_deleted(
            named.path, version=named.version if is_one else None, is_deleted=is_deletion
        )
        if is_deletion and not versions:
            return Refusal(404, _gone_text(named, is_one=is_one))
        await self._notify(named.kind)
        verb = "deleted" if is_deletion else "restored"
        return MovedAnswer(
            status="success",
            message=f"Resource '{named.path}' {verb}.",
            path=named.path,
            versions=versions,
        )

    async def _register(
        self,
        wanted: DocumentRequest,
        *,
        path: str | None,
        principal: Principal | None,
        newest: int | None = None,
    ) -> RegisterAnswer | Refusal:
        size = len(wanted.content.encode())
        limit = self._settings.catalog_content_max_bytes
        if size > limit:
            return Refusal(413, f"The document has {size} bytes, the limit is {limit}")
        document = await self._parsers.run(
            read_document,
            wanted.content,
            resource_type=_resource_type(wanted),
            more_kinds=self._settings.more_kinds(),
            largest_module=self._settings.plugin_module_max_bytes,
        )
        if isinstance(document, Refusal):
            return document
        if path is not None and document.path != path:
            raise InvalidDocument(
                problem=f"The document belongs to '{document.path}', not to '{path}'"
            )
        refused = change_refused(principal, document.path)
        refused = refused or dispatch_refused(principal, document.subscription)
        refused = refused or schedule_refused(principal, document.schedule)
        refused = refused or trigger_refused(principal, document.trigger)
        refused = refused or await self._listener_refused(principal, document)
        if refused is not None or not document.libraries:
            return refused or await self._insert(document, principal, newest=newest)
        resolved = await self._resolver.resolve(document.libraries)
        if isinstance(resolved, Refusal):
            return resolved
        return await self._insert(document, principal, resolved, newest=newest)

    async def _listener_refused(
        self, principal: Principal | None, document: Document
    ) -> Refusal | None:
        """Return a refusal if a subscription's listener name belongs to another caller.

        Among subscriptions with one listener name, the first by path is used.
        """
        name = None if document.subscription is None else document.subscription.listener
        if principal is None or principal.is_whole or name is None:
            return None
        known = await self._store.list_newest_subscriptions(limit=MOST_SUBSCRIPTIONS)
        others = [one for one in known if not principal.reaches(one.path)]
        found = await self._parsers.run(find_listener, others, name)
        if found is None or isinstance(found, Refusal):
            return found
        return Refusal(409, f"Another subscription listens as '{name[:200]}' already")

    async def _insert(
        self,
        document: Document,
        principal: Principal | None,
        libraries: Resolved = NO_LIBRARIES,
        *,
        newest: int | None,
    ) -> RegisterAnswer | Refusal:
        catalog_id = self._ids.next()

        async def also(session: Session, version: int) -> None:
            store = self._schedules
            if document.schedule is None:
                await store.replace(session, document.path)
                return
            playbook = document.schedule.playbook
            new = NewSchedule(
                schedule_id=self._ids.next(),
                path=document.path,
                schedule=document.schedule,
                owner=None if principal is None else principal.name,
                namespace=None if principal is None else principal.namespace_of(playbook),
            )
            await store.keep(session, new, catalog_id=catalog_id, version=version)

        version = await self._store.insert_version(
            catalog_id,
            document,
            libraries=libraries.locks,
            also=also,
            newest=newest,
            registrant=principal.as_registrant() if principal and document.is_start else None,
        )
        if isinstance(version, Newer):
            text = f"The newest version of '{document.path}' is {version.version}, not {newest}"
            return Refusal(409, text, {"path": document.path, "version": version.version})
        if version is None:
            return Refusal(422, f"Unknown kind '{document.kind}'")
        await self._notify(document.kind)
        answer = RegisterAnswer(
            status="success",
            message=f"Resource '{document.path}' version '{version}' registered.",
            path=document.path,
            version=version,
            catalog_id=str(catalog_id),
            kind=document.kind,
        )
        problems = [problem.message for problem in document.problems]
        problems += libraries.problems
        problems += [one.message for one in await _unregistered(self._store, document.plugins)]
        problems += [one.message for one in await self._unknown(document.starts, principal)]
        if not problems:
            return answer
        return answer.model_copy(update={"problems": problems})

    async def _unknown(
        self, starts: Sequence[StartedPlaybook], principal: Principal | None
    ) -> list[Finding]:
        """Return the findings about started playbooks that aren't registered.

        Names outside of the caller's namespaces are not looked up, so findings don't disclose them.
        """
        named = {
            (one.name, one.version)
            for one in starts
            if (principal is None or principal.reaches(one.name)) and "\0" not in one.name
        }
        return unknown_playbooks(starts, await self._store.find_missing(named)) if named else []


async def _unregistered(store: EntryStore, named: Sequence[NamedPlugin]) -> list[Finding]:
    """Return the findings about plug-ins that a playbook names and the catalog lacks."""
    if not named:
        return []
    references = {one.name: read_reference(one.name) for one in named}
    return unknown_plugins(named, await store.find_plugins(references))


def _batch_result(index: int, stored: RegisterAnswer | Refusal) -> BatchResult:
    if isinstance(stored, Refusal):
        return BatchResult(index=index, status="error", error=stored.error)
    named = {"index": index, "status": "registered"}
    return BatchResult(**stored.model_dump(exclude_unset=True) | named)


def _resource_type(wanted: DocumentRequest) -> str:
    return wanted.resource_type or "Playbook"


def _gone_text(entry: CatalogEntry, *, is_one: bool) -> str:
    if is_one:
        return ENTRY_TEXTS.no_version.format(name=entry.path, version=entry.version)
    return ENTRY_TEXTS.no_path.format(name=entry.path)

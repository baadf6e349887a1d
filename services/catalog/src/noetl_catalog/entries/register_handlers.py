"""Writes of documents: versions are added, validated, deleted and restored."""

import asyncio

from noetl_common.bus.rpc import RpcHandler
from noetl_common.errors import NoetlError, Transient
from noetl_common.ids import SnowflakeIds
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_engine.playbook.lint import Finding, Severity

from noetl_catalog.entries.documents import (
    Document,
    InvalidDocument,
    document_findings,
    read_document,
)
from noetl_catalog.entries.requested_entry import ENTRY_TEXTS, find_entry
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import Entry, EntryStore, NewVersion
from noetl_catalog.rpc import by_subject, refused


class RegisterHandlers:
    """Playbooks and other documents, registered, deleted and restored."""

    def __init__(
        self,
        store: EntryStore,
        *,
        settings: EntrySettings,
        ids: SnowflakeIds,
        parsers: asyncio.Semaphore,
    ) -> None:
        self._store = store
        self._settings = settings
        self._ids = ids
        self._parsers = parsers

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject(
            {
                "register": self.on_register,
                "register.batch": self.on_register_batch,
                "validate": self.on_validate,
                "delete": self.on_delete,
                "restore": self.on_restore,
            }
        )

    async def on_register(self, request: JsonObject) -> RpcReply:
        """Store a document as the next version of its path.

        With ``instead_of``, the id or path of an entry, the document must belong to its path.
        """
        instead_of = request.get("instead_of")
        path = None
        if instead_of is not None:
            known = await find_entry(self._store, instead_of, whole=False, texts=ENTRY_TEXTS)
            if isinstance(known, RpcReply):
                return known
            path = known.path
        return await self._register(request, path=path)

    async def on_register_batch(self, request: JsonObject) -> RpcReply:
        """Store many documents; a refused document does not affect the others."""
        results: list[JsonObject] = []
        for index, item in enumerate(request["items"]):
            try:
                reply = await self._register(item, path=None)
            except Transient:
                # Not this document's fault, nor the next one's.
                raise
            except NoetlError as error:
                reply = refused(error.http_status, error.message)
            results.append(_batch_result(index, reply))
        failed = sum(result["status"] != "registered" for result in results)
        return RpcReply(
            body={"registered": len(results) - failed, "failed": failed, "results": results}
        )

    async def on_validate(self, request: JsonObject) -> RpcReply:
        """Return all findings of a document without storing it."""
        content = str(request["content"])
        try:
            async with self._parsers, asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                findings = await asyncio.to_thread(
                    document_findings,
                    content,
                    resource_type=_resource_type(request),
                    more_kinds=self._settings.more_kinds(),
                )
        except TimeoutError:
            return refused(503, "The document could not be read in time")
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        return RpcReply(
            body={
                "valid": not errors,
                "errors": [_error_text(finding) for finding in errors],
                "problems": [_finding_body(finding) for finding in findings],
            }
        )

    async def on_delete(self, request: JsonObject) -> RpcReply:
        """Take one version out, or with a path alone all of them."""
        return await self._moved(request, is_deletion=True)

    async def on_restore(self, request: JsonObject) -> RpcReply:
        """Restore deleted versions."""
        return await self._moved(request, is_deletion=False)

    async def _moved(self, request: JsonObject, *, is_deletion: bool) -> RpcReply:
        named = await find_entry(
            self._store, request, whole=False, texts=ENTRY_TEXTS, even_deleted=True
        )
        if isinstance(named, RpcReply):
            return named
        is_one = request.get("catalog_id") is not None or request.get("version") is not None
        versions = await self._store.set_deleted(
            named.path, version=named.version if is_one else None, is_deleted=is_deletion
        )
        if is_deletion and not versions:
            return refused(404, _gone_text(named, is_one=is_one))
        verb = "deleted" if is_deletion else "restored"
        return RpcReply(
            body={
                "status": "success",
                "message": f"Resource '{named.path}' {verb}.",
                "path": named.path,
                "versions": versions,
            }
        )

    async def _register(self, request: JsonObject, *, path: str | None) -> RpcReply:
        content = str(request["content"])
        size = len(content.encode("utf-8", "surrogatepass"))
        if size > self._settings.catalog_content_max_bytes:
            limit = self._settings.catalog_content_max_bytes
            return refused(413, f"The document has {size} bytes, the limit is {limit}")
        try:
            async with self._parsers, asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                document = await asyncio.to_thread(
                    read_document,
                    content,
                    resource_type=_resource_type(request),
                    more_kinds=self._settings.more_kinds(),
                )
        except TimeoutError:
            return refused(503, "The document could not be read in time")
        if path is not None and document.path != path:
            raise InvalidDocument(
                problem=f"The document belongs to '{document.path}', not to '{path}'"
            )
        return await self._insert(document)

    async def _insert(self, document: Document) -> RpcReply:
        catalog_id = self._ids.next()
        version = await self._store.insert_version(
            NewVersion(
                catalog_id=catalog_id,
                path=document.path,
                kind=document.kind,
                content=document.content,
                layout=document.layout,
                payload=document.payload,
                meta=document.meta,
                metadata=document.metadata,
            )
        )
        if version is None:
            return refused(422, f"Unknown kind '{document.kind}'")
        body: JsonObject = {
            "status": "success",
            "message": f"Resource '{document.path}' version '{version}' registered.",
            "path": document.path,
            "version": version,
            "catalog_id": str(catalog_id),
            "kind": document.kind,
        }
        if document.problems:
            body["problems"] = [problem.message for problem in document.problems]
        return RpcReply(body=body)


def _batch_result(index: int, reply: RpcReply) -> JsonObject:
    if reply.status != 200:
        return {"index": index, "status": "error", "error": reply.error}
    stored = reply.body
    result = {
        "index": index,
        "status": "registered",
        "path": stored["path"],
        "version": stored["version"],
        "kind": stored["kind"],
        "catalog_id": stored["catalog_id"],
    }
    return result | {name: stored[name] for name in ("problems",) if name in stored}


def _resource_type(request: JsonObject) -> str:
    return str(request.get("resource_type") or "Playbook")


def _gone_text(entry: Entry, *, is_one: bool) -> str:
    if is_one:
        return ENTRY_TEXTS.no_version.format(name=entry.path, version=entry.version)
    return ENTRY_TEXTS.no_path.format(name=entry.path)


def _error_text(finding: Finding) -> str:
    return f"{finding.message} ({finding.hint})" if finding.hint else finding.message


def _finding_body(finding: Finding) -> JsonObject:
    return {
        "severity": str(finding.severity),
        "rule": finding.rule,
        "message": finding.message,
        "line": finding.line,
        "column": finding.column,
        "path": finding.path,
        "hint": finding.hint,
    }

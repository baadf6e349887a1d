"""Extend listed entries for their readers: agents and pages."""

from noetl_contract.http.catalog.entries import CatalogEntry
from noetl_contract.json import Json, JsonObject


def agent_entry(entry: CatalogEntry, metadata: Json) -> CatalogEntry:
    """Return an agent's entry with its metadata in ``payload``, where UIs read its abilities."""
    if metadata is None or not (entry.payload is None or isinstance(entry.payload, dict)):
        return entry
    payload = {"metadata": metadata} | (entry.payload or {})
    return entry.model_copy(update={"payload": payload})


def page_entry(entry: CatalogEntry, metadata: Json) -> CatalogEntry:
    """Return an entry as a page shows and searches it.

    Its list takes name, description and number of steps from ``payload`` and the day from ``meta``
    there; keys that the document itself has stay.
    """
    entry = agent_entry(entry, metadata)
    changes: JsonObject = {}
    if isinstance(entry.layout, list) and isinstance(entry.payload, dict):
        changes["payload"] = {"workflow": entry.layout} | entry.payload
    if entry.meta is None or isinstance(entry.meta, dict):
        changes["meta"] = {"registered_at": entry.created_at} | (entry.meta or {})
    return entry.model_copy(update=changes)

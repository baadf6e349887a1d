"""Turn rows of documents into bodies of answers: list, agent, page."""

from noetl_contract.http.moments import rfc3339
from noetl_contract.json import JsonObject

from noetl_catalog.entries.store import Entry


def entry_body(entry: Entry) -> JsonObject:
    """Return an entry as list and resource show it."""
    return {
        "catalog_id": str(entry.catalog_id),
        "path": entry.path,
        "kind": entry.kind,
        "version": entry.version,
        "content": entry.content,
        "layout": entry.layout,
        "payload": entry.payload,
        "meta": entry.meta,
        "created_at": rfc3339(entry.created_at),
    }


def agent_body(entry: Entry) -> JsonObject:
    """Return an agent; UIs read its abilities in ``payload.metadata``."""
    body = entry_body(entry)
    if entry.metadata is not None and (entry.payload is None or isinstance(entry.payload, dict)):
        body["payload"] = {"metadata": entry.metadata} | (entry.payload or {})
    return body


def page_body(entry: Entry) -> JsonObject:
    """Return an entry as a page shows and searches it.

    Its list takes name, description and number of steps from ``payload`` and the day from ``meta``
    there; keys that the document itself has stay.
    """
    body = agent_body(entry)
    if isinstance(entry.layout, list) and isinstance(body["payload"], dict):
        body["payload"] = {"workflow": entry.layout} | body["payload"]
    if entry.meta is None or isinstance(entry.meta, dict):
        body["meta"] = {"registered_at": body["created_at"]} | (entry.meta or {})
    return body

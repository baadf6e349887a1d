"""How entries and runtimes look in answers (http-a 3.2, 3.7, 11)."""

from typing import Any

from noetl_contract.http.moments import rfc3339, rfc3339_or_none

from noetl_catalog.store import Entry, Liveness, Runtime

__all__ = ["agent_body", "entry_body", "liveness_body", "page_body", "runtime_body"]

type Json = Any


def entry_body(entry: Entry) -> dict[str, Json]:
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


def agent_body(entry: Entry) -> dict[str, Json]:
    """Return an agent; UIs read its abilities in ``payload.metadata`` (cli-contract C2)."""
    body = entry_body(entry)
    if entry.metadata is not None and (entry.payload is None or isinstance(entry.payload, dict)):
        body["payload"] = {"metadata": entry.metadata} | (entry.payload or {})
    return body


def page_body(entry: Entry) -> dict[str, Json]:
    """Return an entry as a page shows and searches it.

    Its list takes name, description and number of steps from ``payload`` and the day from ``meta``
    (cli-contract C2); what the document itself has under these keys stays.
    """
    body = agent_body(entry)
    if isinstance(entry.layout, list) and isinstance(body["payload"], dict):
        body["payload"] = {"workflow": entry.layout} | body["payload"]
    if entry.meta is None or isinstance(entry.meta, dict):
        body["meta"] = {"registered_at": body["created_at"]} | (entry.meta or {})
    return body


def runtime_body(runtime: Runtime) -> dict[str, Json]:
    """Return a runtime with all its keys."""
    return {
        "runtime_id": runtime.runtime_id,
        "name": runtime.name,
        "kind": runtime.kind,
        "uri": runtime.uri,
        "status": runtime.status,
        "labels": runtime.labels,
        "capabilities": runtime.capabilities,
        "capacity": runtime.capacity,
        "runtime": runtime.runtime,
        "heartbeat": rfc3339(runtime.heartbeat),
        "created_at": rfc3339(runtime.created_at),
        "updated_at": rfc3339(runtime.updated_at),
    }


def liveness_body(liveness: Liveness) -> dict[str, Json]:
    """Return what leases are judged by."""
    return {
        "now": rfc3339(liveness.now),
        "edges": {
            name: {
                "heartbeat_at": rfc3339(seen.heartbeat_at),
                "process_since": rfc3339(seen.process_since),
            }
            for name, seen in liveness.edges.items()
        },
        "workers": {
            name: {
                "heartbeat_at": rfc3339(seen.heartbeat_at),
                "process_since": rfc3339(seen.process_since),
                "instance": seen.instance,
                "deregistered_at": rfc3339_or_none(seen.deregistered_at),
                "over_edge": seen.over_edge,
            }
            for name, seen in liveness.workers.items()
        },
    }

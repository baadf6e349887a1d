"""How entries and runtimes look in answers, and which entries are agents (http-a 3.2, 11)."""

from collections.abc import Iterable, Mapping
from typing import Any

from noetl_contract.http.moments import rfc3339, rfc3339_or_none

from noetl_catalog.store import Entry, Liveness, Runtime

__all__ = ["entry_body", "is_wanted_agent", "liveness_body", "runtime_body"]

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


def is_wanted_agent(entry: Entry, *, capabilities: Iterable[str]) -> bool:
    """Whether an entry is an agent that can do everything asked for."""
    labels = _mapping(entry.meta)
    metadata = _mapping(_mapping(entry.payload).get("metadata"))
    if not (entry.kind == "agent" or metadata.get("agent") or labels.get("agent")):
        return False
    known = metadata.get("capabilities")
    if not isinstance(known, list):
        known = labels.get("capabilities")
    able = known if isinstance(known, list) else []
    return all(capability in able for capability in capabilities)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}

"""Runtimes and their liveness as answers show them."""

from noetl_contract.http.moments import rfc3339, rfc3339_or_none
from noetl_contract.json import JsonObject

from noetl_catalog.runtimes.store import Runtime, SignsOfLife


def runtime_body(runtime: Runtime) -> JsonObject:
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


def liveness_body(signs: SignsOfLife) -> JsonObject:
    """Return the heartbeats of workers and edges, by which leases are judged."""
    return {
        "now": rfc3339(signs.now),
        "edges": {
            name: {
                "heartbeat_at": rfc3339(seen.heartbeat_at),
                "process_since": rfc3339(seen.process_since),
            }
            for name, seen in signs.edges.items()
        },
        "workers": {
            name: {
                "heartbeat_at": rfc3339(seen.heartbeat_at),
                "process_since": rfc3339(seen.process_since),
                "instance": seen.instance,
                "deregistered_at": rfc3339_or_none(seen.deregistered_at),
                "over_edge": seen.over_edge,
            }
            for name, seen in signs.workers.items()
        },
    }

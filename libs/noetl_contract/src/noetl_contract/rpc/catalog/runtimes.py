"""Operations of the catalog about workers, other processes and machine ids."""

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.workers.runtimes import (
    RuntimeAcknowledgement,
    RuntimeBeat,
    RuntimeEntry,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.model import Model, example
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class EdgeSeen(Model):
    """The last sign of life of an edge, and the begin of its process (RFC 3339)."""

    heartbeat_at: Rfc3339
    process_since: Rfc3339


class WorkerSeen(EdgeSeen):
    """The last sign of life of a worker; ``over_edge`` tells whether it came over HTTP."""

    instance: str | None
    deregistered_at: Rfc3339 | None
    over_edge: bool


class Liveness(Model):
    """Signs of life that leases are judged by; times by the cluster database's clock."""

    model_config = example(
        now="2026-06-15T12:00:00.123456Z",
        edges={},
        workers={
            "w-1": {
                "heartbeat_at": "2026-06-15T11:59:58Z",
                "process_since": "2026-06-15T09:00:00Z",
                "instance": "a1",
                "deregistered_at": None,
                "over_edge": False,
            }
        },
    )

    now: Rfc3339
    edges: dict[str, EdgeSeen]
    workers: dict[str, WorkerSeen]


class RuntimePurgeRequest(Model):
    """For how many minutes a worker pool must have been silent."""

    stale_minutes: int


class PurgedRuntimes(Model):
    """How many registrations were removed."""

    purged: int


class MachineLeaseRequest(Model):
    """The holder of a lease, and the newest time in its ids (Unix ms)."""

    model_config = example(holder="outbox:host-1:4711", high_water_ms=0)

    holder: str
    high_water_ms: int = 0


class MachineRenewRequest(MachineLeaseRequest):
    """The lease to renew."""

    model_config = example(holder="outbox:host-1:4711", high_water_ms=1781524800000, machine_id=3)

    machine_id: int


class MachineLease(Model):
    """A leased machine id; ids may use times above ``high_water_ms`` only."""

    model_config = example(
        machine_id=3, lease_seconds=60.0, high_water_ms=1781524800000, now_ms=1781524800123
    )

    machine_id: int
    lease_seconds: float
    high_water_ms: int
    now_ms: int


RUNTIME_REGISTER = Operation("catalog", "runtime.register", RuntimeRegistration, RuntimeEntry)
"""Write the registration of a worker, server or broker."""
RUNTIME_HEARTBEAT = Operation("catalog", "runtime.heartbeat", RuntimeBeat, RuntimeAcknowledgement)
"""Record that a runtime is alive."""
RUNTIME_DEREGISTER = Operation(
    "catalog", "runtime.deregister", RuntimeNameRequest, RuntimeAcknowledgement
)
"""Mark a runtime as gone."""
RUNTIME_POOLS = Operation("catalog", "runtime.pools", RuntimePoolsQuery, list[RuntimeEntry])
"""List registered runtimes."""
RUNTIME_LIVENESS = Operation("catalog", "runtime.liveness", Nothing, Liveness)
"""Return the signs of life that leases are judged by."""
RUNTIME_PURGE = Operation("catalog", "runtime.purge", RuntimePurgeRequest, PurgedRuntimes)
"""Remove worker pools that have been silent for long."""
MACHINE_LEASE = Operation("catalog", "machine.lease", MachineLeaseRequest, MachineLease)
"""Lease a free machine id."""
MACHINE_RENEW = Operation("catalog", "machine.renew", MachineRenewRequest, MachineLease)
"""Renew the lease of a machine id; 409 when it was lost."""

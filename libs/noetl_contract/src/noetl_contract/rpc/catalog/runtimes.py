"""Operations of the catalog about workers, other processes and machine ids."""

from pydantic import BaseModel, ConfigDict

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.workers.runtimes import (
    RuntimeAcknowledgement,
    RuntimeBeat,
    RuntimeEntry,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "MACHINE_LEASE",
    "MACHINE_RENEW",
    "RUNTIME_DEREGISTER",
    "RUNTIME_HEARTBEAT",
    "RUNTIME_LIVENESS",
    "RUNTIME_POOLS",
    "RUNTIME_PURGE",
    "RUNTIME_REGISTER",
    "EdgeSeen",
    "Liveness",
    "MachineLease",
    "MachineLeaseRequest",
    "MachineRenewRequest",
    "PurgedRuntimes",
    "RuntimePurgeRequest",
    "WorkerSeen",
]


class EdgeSeen(BaseModel):
    """The last sign of life of an edge, and the begin of its process (RFC 3339)."""

    model_config = MODEL

    heartbeat_at: Rfc3339
    process_since: Rfc3339


class WorkerSeen(EdgeSeen):
    """The last sign of life of a worker; ``over_edge`` tells whether it came over HTTP."""

    instance: str | None
    deregistered_at: Rfc3339 | None
    over_edge: bool


class Liveness(BaseModel):
    """Signs of life that leases are judged by; times by the cluster database's clock."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "now": "2026-06-15T12:00:00.123456Z",
                    "edges": {},
                    "workers": {
                        "w-1": {
                            "heartbeat_at": "2026-06-15T11:59:58Z",
                            "process_since": "2026-06-15T09:00:00Z",
                            "instance": "a1",
                            "deregistered_at": None,
                            "over_edge": False,
                        }
                    },
                }
            ]
        },
    )

    now: Rfc3339
    edges: dict[str, EdgeSeen]
    workers: dict[str, WorkerSeen]


class RuntimePurgeRequest(BaseModel):
    """For how many minutes a worker pool must have been silent."""

    model_config = MODEL

    stale_minutes: int


class PurgedRuntimes(BaseModel):
    """How many registrations were removed."""

    model_config = MODEL

    purged: int


class MachineLeaseRequest(BaseModel):
    """The holder of a lease, and the newest time in its ids (Unix ms)."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"holder": "outbox:host-1:4711", "high_water_ms": 0}]},
    )

    holder: str
    high_water_ms: int = 0


class MachineRenewRequest(MachineLeaseRequest):
    """The lease to renew."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "holder": "outbox:host-1:4711",
                    "high_water_ms": 1781524800000,
                    "machine_id": 3,
                }
            ]
        },
    )

    machine_id: int


class MachineLease(BaseModel):
    """A leased machine id; ids may use times above ``high_water_ms`` only."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "machine_id": 3,
                    "lease_seconds": 60.0,
                    "high_water_ms": 1781524800000,
                    "now_ms": 1781524800123,
                }
            ]
        },
    )

    machine_id: int
    lease_seconds: float
    high_water_ms: int
    now_ms: int


RUNTIME_REGISTER = Operation(
    service="catalog",
    name="runtime.register",
    request=RuntimeRegistration,
    answer=RuntimeEntry,
    scope="cluster",
    summary="Write the registration of a worker, server or broker.",
)
RUNTIME_HEARTBEAT = Operation(
    service="catalog",
    name="runtime.heartbeat",
    request=RuntimeBeat,
    answer=RuntimeAcknowledgement,
    scope="cluster",
    summary="Record that a runtime is alive.",
)
RUNTIME_DEREGISTER = Operation(
    service="catalog",
    name="runtime.deregister",
    request=RuntimeNameRequest,
    answer=RuntimeAcknowledgement,
    scope="cluster",
    summary="Mark a runtime as gone.",
)
RUNTIME_POOLS = Operation(
    service="catalog",
    name="runtime.pools",
    request=RuntimePoolsQuery,
    answer=list[RuntimeEntry],
    scope="cluster",
    summary="List registered runtimes.",
)
RUNTIME_LIVENESS = Operation(
    service="catalog",
    name="runtime.liveness",
    request=Nothing,
    answer=Liveness,
    scope="cluster",
    summary="Return the signs of life that leases are judged by.",
)
RUNTIME_PURGE = Operation(
    service="catalog",
    name="runtime.purge",
    request=RuntimePurgeRequest,
    answer=PurgedRuntimes,
    scope="cluster",
    summary="Remove worker pools that have been silent for long.",
)
MACHINE_LEASE = Operation(
    service="catalog",
    name="machine.lease",
    request=MachineLeaseRequest,
    answer=MachineLease,
    scope="cluster",
    summary="Lease a free machine id.",
)
MACHINE_RENEW = Operation(
    service="catalog",
    name="machine.renew",
    request=MachineRenewRequest,
    answer=MachineLease,
    scope="cluster",
    summary="Renew the lease of a machine id; 409 when it was lost.",
)

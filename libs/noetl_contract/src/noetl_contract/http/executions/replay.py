"""`GET /api/replay/state`."""

from typing import Any

from noetl_contract.model import Model


class Checksum(Model):
    """Digest of compact JSON with sorted keys."""

    type: str
    value: str


class ReplayedExecution(Model):
    """The execution itself; each event with a reference has its place in `payload_refs`."""

    status: str
    last_node_name: str | None = None
    payload_refs: list[dict[str, Any]]


class ReplayAnswer(Model):
    """The state by the log up to the cutoff; maps are by id."""

    tenant_id: str
    organization_id: str
    execution_id: int | str
    projection: str
    event_count: int
    last_event_id: int | None = None
    last_event_type: str | None = None
    execution: ReplayedExecution
    stages: dict[str, dict[str, Any]]
    frames: dict[str, dict[str, Any]]
    commands: dict[str, dict[str, Any]]
    business_objects: dict[str, dict[str, Any]]
    loops: dict[str, dict[str, Any]]
    checksum: Checksum
    projection_checksums: dict[str, Checksum]

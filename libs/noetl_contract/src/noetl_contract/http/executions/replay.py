"""`GET /api/replay/state`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Checksum", "ReplayAnswer", "ReplayedExecution"]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class Checksum(BaseModel):
    """Digest of compact JSON with sorted keys."""

    model_config = _TOLERANT

    type: str
    value: str


class ReplayedExecution(BaseModel):
    """The execution itself; each event with a reference has its place in `payload_refs`."""

    model_config = _TOLERANT

    status: str
    last_node_name: str | None = None
    payload_refs: list[dict[str, Any]]


class ReplayAnswer(BaseModel):
    """The state by the log up to the cutoff; maps are by id."""

    model_config = _TOLERANT

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

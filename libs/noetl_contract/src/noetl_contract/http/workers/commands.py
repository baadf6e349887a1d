"""`GET /api/commands/{event_id}` and `POST …/claim`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ClaimAnswer", "ClaimBody", "CommandAnswer"]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class ClaimBody(BaseModel):
    """The worker that wants to run the command."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_extra={"examples": [{"worker_id": "w-1"}]}
    )

    worker_id: str


class CommandAnswer(BaseModel):
    """A command as it was issued."""

    model_config = _TOLERANT

    execution_id: int
    node_id: str
    node_name: str
    action: str
    context: Any = None
    meta: Any = None


class ClaimAnswer(CommandAnswer):
    """The command, which belongs to the worker until its lease ends."""

    status: Literal["ok"] = "ok"
    event_id: int

"""The notification on ``noetl.commands.<pool>.<execution_id>`` (messaging 2.2, worker 22.2)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["CommandNotification", "FastCommand", "FastPath"]

_MODEL = ConfigDict(frozen=True, extra="ignore")


class FastCommand(BaseModel):
    """What a claim would answer, carried inside the notification."""

    model_config = _MODEL

    action: str
    context: Any = None
    meta: Any = None


class FastPath(BaseModel):
    """The extra key that only our worker reads.

    ``command`` and ``until`` (RFC 3339) are there only in the first publication, the one
    made from the hint.
    """

    model_config = _MODEL

    v: Literal[1] = 1
    shard: int
    attempts: int
    until: str | None = None
    command: FastCommand | None = None


class CommandNotification(BaseModel):
    """One command to fetch. Ids are integers: a string ends the real worker's process."""

    model_config = _MODEL

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: dict[str, Any] | None = None
    fast: FastPath | None = None

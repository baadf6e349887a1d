"""The notification of a command, on ``noetl.commands.<pool>.<execution_id>``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from noetl_contract.json import Json, JsonObject

__all__ = ["CommandNotification", "FastCommand", "FastPath"]

_MODEL = ConfigDict(frozen=True, extra="ignore")


class FastCommand(BaseModel):
    """The command itself, as a claim would answer it."""

    model_config = _MODEL

    action: str
    context: Json = None
    meta: Json = None


class FastPath(BaseModel):
    """The fence of the fast path; only our worker reads this key.

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
    """One command to claim. Ids are integers: text ends the process of an outside worker."""

    model_config = _MODEL

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: JsonObject | None = None
    fast: FastPath | None = None

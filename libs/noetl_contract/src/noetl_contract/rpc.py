"""Request/reply between services: for what needs an answer now and may be asked again.

A request is JSON on ``subjects.rpc_subject(…)`` with the deadline header; the answer is an
:class:`RpcReply`. Operations and their fields are listed in ``docs/architecture.md``.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["ChildRequest", "ClaimRequest", "RpcReply"]


class RpcReply(BaseModel):
    """An HTTP-shaped answer: ``body`` for 2xx, otherwise ``error`` with ``detail``.

    ``status`` is the HTTP status the edge answers with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: int = 200
    body: Any = None
    error: str | None = None
    detail: Any = None


class ClaimRequest(BaseModel):
    """Ask for a command (worker 7 and 22.2); ``instance`` is absent over HTTP."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    execution_id: int | None = None
    event_id: int
    worker_id: str
    instance: str | None = None
    after_start: bool = False


class ChildRequest(BaseModel):
    """Ask the parent's shard which execution a child start stands for (design L6).

    ``event_id`` is the command whose run starts the child, None when no command is known;
    ``child_id`` the id to use for a new child; ``payload_digest`` tells equal payloads.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    execution_id: int
    event_id: int | None = None
    child_id: int
    path: str
    payload_digest: str = ""

"""The envelope of every answer between services."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from noetl_contract.json import Json

__all__ = ["Refusal", "RpcReply"]


class RpcReply(BaseModel):
    """An HTTP-shaped answer: ``body`` for 2xx, otherwise ``error`` with ``detail``.

    ``status`` is the HTTP status the edge answers with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: int = 200
    body: Json = None
    error: str | None = None
    detail: Json = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not met: HTTP status, text, structured detail."""

    status: int
    error: str
    detail: Json = None

"""The envelope of every answer between services."""

from dataclasses import dataclass

from noetl_contract.json import Json
from noetl_contract.model import Model


class RpcReply(Model):
    """An HTTP-shaped answer: ``body`` for 2xx, otherwise ``error`` with ``detail``.

    ``status`` is the HTTP status the edge answers with.
    """

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

"""Messages of the protocol: JSON-RPC in, JSON-RPC out."""

from collections.abc import Mapping
from typing import Literal

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model
from pydantic import Field

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR, REFUSED = -32602, -32603, -32000


class Incoming(Model):
    """A request, a notification (it has no id), or an unsolicited answer."""

    jsonrpc: Literal["2.0"]
    id: int | str | None = None
    method: str | None = None
    params: JsonObject = Field(default_factory=dict)


class RpcError(Exception):
    """A request can't be answered.

    Attributes:
        code: of JSON-RPC.
        text: for people and models.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def answer(number: int | str | None, result: Json) -> JsonObject:
    """Return the answer to a request."""
    return {"jsonrpc": "2.0", "id": number, "result": result}


def refusal(number: int | str | None, error: RpcError) -> JsonObject:
    """Return the answer to a request that can't be answered."""
    body = {"code": error.code, "message": error.text}
    return {"jsonrpc": "2.0", "id": number, "error": body}


def outcome(text: str, values: Mapping[str, Json], *, is_error: bool = False) -> JsonObject:
    """Return the outcome of a tool: a text for models, and its values for programs."""
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": dict(values),
        "isError": is_error,
    }

"""Stored requests of web pages that have started an execution and wait for its result."""

from typing import Final, Literal

from msgspec import field

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Struct

CLIENT_ID: Final = r"[A-Za-z0-9_-]{1,64}"
"""The name of a page's connection, and the id of a request: each is a token of a subject."""
PLAYBOOK_FAILED: Final = -32000
"""Code of the error for a failed execution."""


class PageRequest(Struct):
    """A request of a page, stored before its execution is started.

    Attributes:
        request_id: under which the page waits, and the playbook may post its result.
        client_id: of the page's connection, which a later one may take over.
        owner: kind and name of the caller; no other caller gets the result.
        execution_id: under which the execution is started.
        path: of the playbook; None where an execution was started once more.
        created_at: RFC 3339.
    """

    request_id: str
    client_id: str
    owner: str
    execution_id: int
    path: str | None = None
    created_at: str


class PageError(Struct):
    """The error in place of a result, in the form of JSON-RPC."""

    code: int = PLAYBOOK_FAILED
    message: str
    data: Json = None


class PageResult(Struct):
    """The result that a playbook has posted for a request."""

    request_id: str
    execution_id: str
    status: str
    data: Json = None
    error: PageError | None = None


class PageHint(Struct):
    """A hint to the stream of a page: a stored message for it, or progress.

    Attributes:
        kind: the answer to a `result` comes when the page has been sent it.
        progress: of a running execution, as the page is sent it.
    """

    kind: Literal["request", "result", "progress"]
    request_id: str
    progress: JsonObject = field(default_factory=dict)

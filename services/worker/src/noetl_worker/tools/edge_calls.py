"""Calls of tools to the control plane; failures become tool errors."""

from dataclasses import dataclass

import orjson
from noetl_contract.json import Json

from noetl_worker.bounded_http import AnswerTooLarge
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.tools.tool import Failure, ToolContext, ToolError


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an answer."""

    status: int
    data: bytes

    @property
    def is_good(self) -> bool:
        """Tell whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text."""
        return self.data.decode("utf-8", "replace")

    def json(self) -> Json:
        """Return the body.

        Raises:
            ToolError: it is no JSON.
        """
        try:
            return orjson.loads(self.data)
        except orjson.JSONDecodeError as error:
            raise ToolError("JSON error", f"the answer is no JSON: {error}") from error


class EdgeCalls:
    """The edge for the tools of one command, at the very address that its notification named."""

    def __init__(self, edge: Edge, context: ToolContext, *, most: int) -> None:
        self._edge = edge
        self._base = context.server_url
        self._most = most

    async def get(
        self, path: str, *, seconds: float, params: dict[str, str] | None = None
    ) -> Reply:
        """Read.

        Raises:
            ToolError: there was no answer, or it is too large.
        """
        return await self._send("GET", path, seconds=seconds, params=params)

    async def post(
        self, path: str, body: Json, *, seconds: float, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a JSON body.

        Raises:
            ToolError: there was no answer, or it is too large.
        """
        data = orjson.dumps(body)
        return await self._send("POST", path, seconds=seconds, body=data, headers=headers)

    async def _send(self, method: str, path: str, *, seconds: float, **request: Json) -> Reply:
        try:
            status, data = await self._edge.read(
                method, path, base=self._base, most=self._most, seconds=seconds, **request
            )
        except EdgeUnreachable as error:
            failure = Failure(kind="connection", retryable=True)
            raise ToolError("HTTP error", f"{path}: {error}", failure=failure) from error
        except AnswerTooLarge as error:
            message = f"{path}: the answer has more than {self._most} bytes"
            raise ToolError("HTTP error", message) from error
        return Reply(status, data)

"""Calls of tools to the control plane; failures become tool errors."""

from dataclasses import dataclass

import orjson
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.json import Json

from noetl_worker.bounded_http import AnswerTooLarge
from noetl_worker.control_plane.edge import Edge, EdgeAddressRefused, EdgeUnreachable
from noetl_worker.tools.tool import Failure, ToolContext, ToolError

_log = get_logger()
IDEMPOTENCY_KEY = "idempotency-key"
_LATER = frozenset({408, 425, 429, 502, 503, 504})
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an answer."""

    status: int
    data: bytes

    @property
    def is_good(self) -> bool:
        """Whether it is a 2xx."""
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
    """The edge for the tools of one command, at the very address that its notification named.

    What may be sent again is repeated until the edge answers, as the outcome of the command is: an
    outage of the control plane costs time and no step. The time limit of the step, its
    cancellation and the end of the worker end that.
    """

    def __init__(self, edge: Edge, context: ToolContext, *, most: int) -> None:
        self._edge = edge
        self._base = context.server_url
        self._most = most

    async def get(
        self, path: str, *, seconds: float, params: dict[str, str] | None = None
    ) -> Reply:
        """Read, until there is an answer that isn't "later".

        Raises:
            ToolError: the answer is too large.
        """
        return await self._repeated("GET", path, seconds=seconds, params=params)

    async def look(self, path: str, *, seconds: float) -> Reply:
        """Read once, for callers that read again anyway.

        Raises:
            ToolError: there was no answer, or it is too large.
        """
        return await self._send("GET", path, seconds=seconds)

    async def post(
        self, path: str, body: Json, *, seconds: float, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a JSON body; with a key in the headers again, until there is an answer.

        Raises:
            ToolError: it is too large, or without a key there was no answer.
        """
        data = orjson.dumps(body)
        send = self._repeated if headers and IDEMPOTENCY_KEY in headers else self._send
        return await send("POST", path, seconds=seconds, body=data, headers=headers)

    async def _repeated(self, method: str, path: str, *, seconds: float, **request: Json) -> Reply:
        async for _ in backoff(
            first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=0.25
        ):
            try:
                reply = await self._send(method, path, seconds=seconds, **request)
            except ToolError as error:
                if error.failure is None or not error.failure.retryable:
                    raise
                _log.info("call_repeated", path=path, error=str(error))
                continue
            if reply.status not in _LATER:
                return reply
            _log.info("call_repeated", path=path, status=reply.status)
        raise AssertionError  # the loop has no end of its own

    async def _send(
        self, method: str, path: str, *, seconds: float, body: bytes | None = None, **more: Json
    ) -> Reply:
        try:
            status, data = await self._edge.call(
                method, path, body, base=self._base, most=self._most, seconds=seconds, **more
            )
        except EdgeUnreachable as error:
            is_down = not isinstance(error, EdgeAddressRefused)
            failure = Failure(kind="connection", retryable=is_down)
            raise ToolError("HTTP error", f"{path}: {error}", failure=failure) from error
        except AnswerTooLarge as error:
            message = f"{path}: the answer has more than {self._most} bytes"
            raise ToolError("HTTP error", message) from error
        return Reply(status, data)

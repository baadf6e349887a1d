"""Requests to other services."""

from time import monotonic
from typing import TYPE_CHECKING

import orjson
from noetl_common.errors import NoetlError, Unavailable
from noetl_common.retry import backoff
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import tracing
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Shape
from noetl_contract.rpc import RpcReply, decode_reply
from noetl_contract.rpc.operation import Operation, encode_value

from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable
from noetl_bus.rpc.headers import SEAL_HEADER, headers_of

if TYPE_CHECKING:
    from noetl_common.crypto.sealed import SealingKey

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
_REPEAT_SECONDS = 0.5
"""Time without an answer after which a quick request is repeated, in case its broker has died."""


class RpcUnavailable(Unavailable):
    """There is no answer in time; the work may or may not be done."""

    template = "no answer from {what}: {reason}"


class RpcRefused(NoetlError):
    """The service refused the request."""

    template = "{error}"

    def __init__(self, reply: RpcReply) -> None:
        super().__init__(error=reply.error or f"The service answered with status {reply.status}")
        self.message = str(self.context["error"])
        self.http_status = reply.status
        self._detail = reply.detail

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return self.http_status

    @property
    def detail(self) -> Json:
        """JSON detail of the answer."""
        return self._detail


class RpcClient:
    """Client of other services."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ask[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        request: Request,
        *,
        seconds: float,
        shard: int | None = None,
        wait_for_responder: bool = False,
    ) -> Answer:
        """Send a request and return the decoded answer.

        Args:
            operation: the operation, declared in ``noetl_contract.rpc``.
            request: the request.
            seconds: timeout; after it, the service drops a waiting request.
            shard: shard of the service, for operations with a service for each shard.
            wait_for_responder: retry until the timeout while no service listens, as in a restart.

        Raises:
            RpcRefused: the service refused, with status, text and detail.
            RpcUnavailable: no service listens, or there is no answer in time.
            TooLarge: the request exceeds the broker's limit.
        """
        reply = await self.forward(
            operation, request, seconds=seconds, shard=shard, wait_for_responder=wait_for_responder
        )
        if not reply.is_good:
            raise RpcRefused(reply)
        try:
            return operation.decode_answer(reply.raw_body)
        except ValueError as error:
            what = operation.subject(shard)
            raise RpcUnavailable(what=what, reason="an answer of the wrong shape") from error

    async def forward[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        request: Request,
        *,
        seconds: float,
        shard: int | None = None,
        wait_for_responder: bool = False,
    ) -> RpcReply:
        """Send a request and return the answer, even if it is a refusal.

        Raises:
            RpcUnavailable, TooLarge: see `ask`.
        """
        return await self.call(
            operation.subject(shard),
            encode_value(request),
            seconds=seconds,
            wait_for_responder=wait_for_responder,
            is_secret=operation.is_secret,
            is_busy=operation.is_busy,
        )

    async def call(
        self,
        subject: str,
        request: JsonObject | bytes,
        *,
        seconds: float,
        wait_for_responder: bool = False,
        is_secret: bool = False,
        is_busy: bool = False,
    ) -> RpcReply:
        """Send an encoded request on the subject of an operation.

        With ``is_secret``, the answer is sealed for this request. With ``is_busy``, which marks a
        quick operation, the request is repeated if there is no answer for a while.

        Raises:
            RpcUnavailable, TooLarge: see `ask`.
        """
        key = _new_key() if is_secret else None
        body = request if isinstance(request, bytes) else orjson.dumps(request)
        end = monotonic() + seconds
        reason = ""
        async for _ in backoff(
            first_seconds=_FIRST_PAUSE_SECONDS,
            longest_seconds=_LONGEST_PAUSE_SECONDS,
            total_seconds=seconds if wait_for_responder else 0,
        ):
            left = end - monotonic()
            try:
                incoming = await self._bus.request(
                    subject,
                    body,
                    headers=_headers(left, key),
                    seconds=left,
                    repeat_seconds=_REPEAT_SECONDS if is_busy else None,
                )
                data = incoming.data if key is None else _opened(key, incoming.data)
                return decode_reply(data, cuts_body=self._bus.settings.takes("unread-answers"))
            except BusUnavailable as error:
                reason = error.context.get("reason", "")
            except ValueError as error:
                raise RpcUnavailable(what=subject, reason="a malformed answer") from error
        raise RpcUnavailable(what=subject, reason=reason)


# These functions import lazily, because most processes never request a secret.


def _new_key() -> "SealingKey":
    from noetl_common.crypto.sealed import SealingKey  # noqa: PLC0415 -- see above

    return SealingKey()


def _headers(seconds: float, key: "SealingKey | None") -> dict[str, str]:
    headers = headers_of(seconds)
    if tracing() is not None:
        headers.update(carried_headers())
    return headers if key is None else {**headers, SEAL_HEADER: key.public}


def _opened(key: "SealingKey", data: bytes) -> bytes:
    from noetl_bus.rpc.sealing import opened_answer  # noqa: PLC0415 -- see above

    return opened_answer(key, data)

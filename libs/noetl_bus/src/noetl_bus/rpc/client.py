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
"""Silence of a service that answers in milliseconds: its broker may have died with the request."""


class RpcUnavailable(Unavailable):
    """No answer in time; whether the work was done is unknown."""

    template = "no answer from {what}: {reason}"


class RpcRefused(NoetlError):
    """The service answered that it does not do what was asked."""

    template = "{error}"

    def __init__(self, reply: RpcReply) -> None:
        super().__init__(error=reply.error or f"The service answered with status {reply.status}")
        self.message = str(self.context["error"])
        self.http_status = reply.status
        self.told = reply.detail

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return self.http_status

    @property
    def detail(self) -> Json:
        """JSON that the service answered beside the text."""
        return self.told


class RpcClient:
    """Asks other services."""

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
        """Ask and return the answer as its model.

        Args:
            operation: declared in ``noetl_contract.rpc``.
            request: its request.
            seconds: timeout; the other side drops the work when it is over.
            shard: whom to ask where there is a service for each shard.
            wait_for_responder: try again until then while no service listens, as in a restart.

        Raises:
            RpcRefused: the service refused, with status, text and detail.
            RpcUnavailable: no service listens, or no answer in time.
            TooLarge: the request is above the broker's limit.
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
        """Ask and return the answer, whatever its status.

        Raises:
            RpcUnavailable, TooLarge: as `ask`.
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
        """Ask with a request that is encoded already, on the subject of an operation.

        With ``is_secret`` the answer comes sealed for this request alone. With ``is_busy`` the
        request is sent once more when no answer has come for long: the operation is a quick one.

        Raises:
            RpcUnavailable, TooLarge: as `ask`.
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
                raise RpcUnavailable(what=subject, reason="an answer without sense") from error
        raise RpcUnavailable(what=subject, reason=reason)


# Loaded when they are needed: most processes never ask for a secret.


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

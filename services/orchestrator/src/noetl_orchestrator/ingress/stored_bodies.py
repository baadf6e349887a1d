"""Bodies that were too large for the broker, fetched from the result store (W13)."""

from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.errors import Permanent, Unavailable
from noetl_contract.ingress import StoredMessage
from noetl_contract.json import encode
from noetl_contract.subjects import rpc_subject
from pydantic import ValidationError

_FETCH_SECONDS = 10.0
_MISSING = 404
_TOO_MANY = 429


class StoredBodyGone(Permanent):
    """The body of a message is not in the result store."""

    template = "the message stands for another that can't be had: {reason}"


class StoredBodies:
    """Fetch bodies from the projector of a shard."""

    def __init__(self, bus: Bus, *, shard: int) -> None:
        self._rpc = RpcClient(bus)
        self._subject = rpc_subject("projector", "result.resolve", shard=shard)

    async def fetch(self, data: bytes) -> bytes:
        """Return the body that a message refers to.

        Raises:
            StoredBodyGone: no later try can succeed.
            Unavailable: the result store does not answer.
        """
        try:
            stored = StoredMessage.model_validate_json(data)
        except ValidationError as error:
            raise StoredBodyGone(reason="it names none") from error
        try:
            reply = await self._rpc.call(
                self._subject,
                {"ref": stored.ref},
                timeout=_FETCH_SECONDS,
                wait_for_responder=True,
            )
        except RpcUnavailable as error:
            raise Unavailable(what="the result store") from error
        if reply.status == _MISSING:
            raise StoredBodyGone(reason=f"{stored.ref} is not in the result store")
        if 400 <= reply.status < 500 and reply.status != _TOO_MANY:
            # A wrong reference stays wrong.
            raise StoredBodyGone(reason=reply.error or f"status {reply.status}")
        if reply.status >= 300:
            raise Unavailable(what="the result store")
        return encode(reply.body)

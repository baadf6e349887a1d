"""Bodies that were too large for the broker, fetched from the result store (W13)."""

from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import Permanent, Unavailable
from noetl_contract.ingress import StoredMessage
from noetl_contract.json import encode
from noetl_contract.rpc.projector import RESULT_RESOLVE, ResultRef
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
        self._shard = shard

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
            body = await self._rpc.ask(
                RESULT_RESOLVE,
                ResultRef(ref=stored.ref),
                shard=self._shard,
                seconds=_FETCH_SECONDS,
                wait_for_responder=True,
            )
        except RpcRefused as error:
            if error.status == _MISSING:
                reason = f"{stored.ref} is not in the result store"
                raise StoredBodyGone(reason=reason) from error
            if 400 <= error.status < 500 and error.status != _TOO_MANY:
                # A wrong reference stays wrong.
                raise StoredBodyGone(reason=error.message) from error
            raise Unavailable(what="the result store") from error
        except RpcUnavailable as error:
            raise Unavailable(what="the result store") from error
        return encode(body)

"""Bodies that were too large for the broker, fetched from the result store (W13)."""

from msgspec.json import Decoder
from noetl_bus.broker import Bus
from noetl_common.errors import Permanent
from noetl_contract.ingress import StoredMessage
from noetl_contract.json import encode
from noetl_contract.model import decode

from noetl_orchestrator.result_store import NotStored, ResultStore

_FETCH_SECONDS = 10.0


class StoredBodyGone(Permanent):
    """The body of a message is not in the result store."""

    template = "the message stands for another that can't be had: {reason}"


_STORED = Decoder(StoredMessage)


class StoredBodies:
    """Fetch bodies from the projector of a shard."""

    def __init__(self, bus: Bus, *, shard: int) -> None:
        self._store = ResultStore(bus, shard=shard, seconds=_FETCH_SECONDS)

    async def fetch(self, data: bytes) -> bytes:
        """Return the body that a message refers to.

        Raises:
            StoredBodyGone: no later try can succeed.
            Unavailable: the result store does not answer.
        """
        try:
            stored = decode(_STORED, data)
        except ValueError as error:
            raise StoredBodyGone(reason="it names none") from error
        try:
            return encode(await self._store.read(stored.ref))
        except NotStored as error:
            raise StoredBodyGone(reason=error.message) from error

"""Messages above the broker's limit: kept first, then sent as a reference (W13)."""

from collections.abc import Callable

from msgspec import Raw
from noetl_bus.broker import Bus
from noetl_contract.ingress import StoredMessage, encode_message
from noetl_contract.rpc.projector import RESULT_PUT, ResultPut

from noetl_api_gateway.upstream.services import Services

_HEADER_ROOM = 1024
_NAME = "ingress"
_KEPT_SECONDS = 7 * 86_400
"""As long as a dead letter that refers to it."""


class LargeWrites:
    """Store messages that are too large for the broker in the result store."""

    def __init__(self, bus: Bus, services: Services, *, next_id: Callable[[], int]) -> None:
        self._bus = bus
        self._services = services
        self._next_id = next_id

    def is_needed(self, body: bytes) -> bool:
        """Whether a message does not fit."""
        return len(body) + _HEADER_ROOM > self._bus.largest_message

    async def keep(self, body: bytes, *, execution_id: int, seconds: float) -> bytes:
        """Store a message and return the reference that is sent in its place.

        Raises:
            Refusal: the store refuses it, or does not answer in time.
        """
        wanted = ResultPut(
            execution_id=execution_id,
            # Minted here, so that a repeated request stores it once.
            result_id=self._next_id(),
            name=_NAME,
            data=Raw(body),
            scope=_NAME,
            expires_seconds=_KEPT_SECONDS,
        )
        kept = RESULT_PUT.decode_answer(await self._services.store_result(wanted, seconds=seconds))
        return encode_message(
            StoredMessage(execution_id=execution_id, ref=kept.ref, size=len(body))
        )

"""Event streams: limits by client, and the sending of chunks."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from noetl_contract.access.principal import Principal

from noetl_api_gateway.intake.peers import address_of

if TYPE_CHECKING:
    from litestar.types import Receive, Send

SSE_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of an event stream; the last one keeps proxies from buffering it."""


class StreamPlaces:
    """Limits of open streams: of all, of an address, of a caller.

    Args:
        most: of all together.
        per_address: of one address.
        per_principal: of one authenticated caller.
    """

    def __init__(self, most: int, *, per_address: int, per_principal: int) -> None:
        self._most = most
        self._per_address = per_address
        self._per_principal = per_principal
        self._taken: Counter[tuple[str, str]] = Counter()

    @property
    def taken(self) -> int:
        """Streams that are open."""
        return self._taken["", ""]

    def full(self, scope: Mapping[str, Any]) -> str | None:
        """Return the limit that a request would exceed: `all`, `address`, `principal` or None."""
        for key in _keys(scope):
            kind = key[0]
            most = {"": self._most, "address": self._per_address}.get(kind, self._per_principal)
            if self._taken[key] >= most:
                return kind or "all"
        return None

    def take(self, scope: Mapping[str, Any]) -> None:
        """Take a place."""
        self._taken.update(_keys(scope))

    def leave(self, scope: Mapping[str, Any]) -> None:
        """Release a place."""
        for key in _keys(scope):
            self._taken[key] -= 1
            if self._taken[key] <= 0:
                del self._taken[key]


def _keys(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield "address", address_of(scope)
    principal = scope.get("user")
    if isinstance(principal, Principal):
        yield "principal", f"{principal.kind}:{principal.name}"


async def write_chunk(send: "Send", chunk: bytes) -> None:
    """Send a part of an open stream."""
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def client_gone(receive: "Receive") -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass

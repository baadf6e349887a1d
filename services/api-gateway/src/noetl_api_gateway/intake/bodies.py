"""A budget of all request bodies that are held in memory."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from noetl_api_gateway.intake_settings import is_loopback

ALWAYS = 64 << 10
"""Bytes of a body that are accepted even when the budget is used up, so that work goes on."""

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]


class BodiesFullError(Exception):
    """The budget is used up, by all or by this address."""


class BodyBudget:
    """Budget of memory for large bodies.

    Args:
        most: bytes of all requests together; one address has half of it, but a loopback one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._by_address: dict[str, int] = {}

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def open(self, address: str) -> "HeldBody":
        """Return the account of a request that begins."""
        return HeldBody(self, address)

    def take(self, address: str, size: int) -> None:
        """Take bytes.

        Raises:
            BodiesFullError: there is no room for them.
        """
        own = self._by_address.get(address, 0) + size
        share = self._most if is_loopback(address) else self._most // 2
        if self._held + size > self._most or own > share:
            raise BodiesFullError
        self._held += size
        self._by_address[address] = own

    def give_back(self, address: str, size: int) -> None:
        """Release bytes."""
        self._held -= size
        left = self._by_address.pop(address, 0) - size
        if left > 0:
            self._by_address[address] = left


class HeldBody:
    """The body of one request, counted until the request is over."""

    def __init__(self, budget: BodyBudget, address: str) -> None:
        self._budget = budget
        self._address = address
        self._size = 0
        self._taken = 0

    def counting(self, receive: Receive) -> Receive:
        """Wrap the receive function of a body, and count its bytes.

        Raises:
            BodiesFullError: by the wrapped function, there is no room for a piece.
        """

        async def counted() -> Message:
            message = await receive()
            self._add(len(message.get("body", b"")))
            return message

        return counted

    def close(self) -> None:
        """Release all bytes of the body."""
        if self._taken:
            self._budget.give_back(self._address, self._taken)
            self._taken = 0

    def _add(self, size: int) -> None:
        self._size += size
        more = self._size - ALWAYS - self._taken
        if more > 0:
            self._budget.take(self._address, more)
            self._taken += more

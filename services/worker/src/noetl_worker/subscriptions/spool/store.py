"""Interface of stores of messages: items in the order in which they were received."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson
from noetl_contract.subscriptions.messages import Message

if TYPE_CHECKING:
    from noetl_contract.json import Json, JsonObject


class SpoolAway(Exception):
    """The store can't be used now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A kept message.

    Attributes:
        recv_seq: its number in the order of arrival.
        subscription: path of the subscription.
        source: word of its source.
        message: the message.
        dedup_key: what repetitions are known by.
        ordering_key: what it is ordered by, if not by all.
        downstream: what could not take it.
        reason: why it is here.
        sha256: of the message, so that a torn item is noticed.
        attempts: how often its start was tried.
        spooled_at_ms: when it was kept, Unix time.
    """

    recv_seq: int
    subscription: str
    source: str
    message: Message
    dedup_key: str | None
    ordering_key: str | None
    downstream: str
    reason: str
    sha256: str
    attempts: int
    spooled_at_ms: int

    def encode(self) -> bytes:
        """Return it as it is stored."""
        fields: JsonObject = {
            name: getattr(self, name) for name in self.__slots__ if name != "message"
        }
        message_id = self.message.id
        return orjson.dumps({**fields, "message_id": message_id, "message": self.message.to_json()})

    @classmethod
    def decode(cls, data: bytes) -> "Item":
        """Read a stored item.

        Raises:
            ValueError: it is none.
        """
        value: Json = orjson.loads(data)
        try:
            message = Message(**value.pop("message"))
            value.pop("message_id", None)
            return cls(message=message, **value)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no item of a spool: {error}") from error


class SpoolStore(Protocol):
    """A store of items; every method but ``close`` raises `SpoolAway`."""

    async def open(self) -> dict[int, int]:
        """Return the sizes of the items that are there, by number."""

    async def put(self, number: int, data: bytes) -> None:
        """Keep an item; it is stored when this returns."""

    async def get(self, number: int) -> bytes:
        """Return an item."""

    async def delete(self, number: int) -> None:
        """Forget an item."""

    async def bury(self, number: int, data: bytes) -> None:
        """Keep an item with the dead letters."""

    async def close(self) -> None:
        """Let go of the store."""

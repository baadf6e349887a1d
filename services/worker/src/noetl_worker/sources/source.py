"""Interface of sources of messages."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.messages import Message


class SourceAway(Exception):
    """The source can't be used now; the text says why."""


class WrongSource(Exception):
    """The configuration names no source that can be used."""


@dataclass(slots=True, kw_only=True)
class Taken:
    """A message that was taken from a source and is not settled yet.

    Attributes:
        message: as playbooks see it.
        identity: what every delivery of the message has in common and no other message has; None
            where the source has nothing of the kind.
        handle: what the source knows it by.
        size: bytes of its body.
    """

    message: Message
    identity: str | None
    handle: Any
    size: int = 0


class Source(Protocol):
    """A source, once for each connection to it.

    Every method but ``close`` raises `SourceAway` when the source can't be reached.
    """

    async def open(self) -> None:
        """Connect; raises `WrongSource` for a mistake that no later try can mend."""

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Take messages, waiting so long for the first."""

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Settle messages: they don't come again."""

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Report to the source that messages are still being worked on."""

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Hand messages back, to be delivered again."""

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Store a message in another place of the source, confirmed."""

    async def close(self) -> None:
        """Let go of the connection."""


def required(config: Mapping[str, Json], name: str, *, source: str) -> str:
    """Return a text that a source can't do without.

    Raises:
        WrongSource: it is missing.
    """
    value = config.get(name)
    if not isinstance(value, str) or not value:
        raise WrongSource(f"subscription[{source}] requires '{name}'")
    return value


def text(config: Mapping[str, Json], name: str) -> str | None:
    """Return a text that may be missing."""
    value = config.get(name)
    return value if isinstance(value, str) and value else None


def client_of(name: str, *, extra: str) -> ModuleType:
    """Import the client of a source.

    Raises:
        WrongSource: it is not installed; the text names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise WrongSource(
            f"The source '{extra}' needs the package '{name.partition('.')[0]}': install "
            f"noetl-worker[{extra}]"
        ) from error


def about(**found: Json) -> JsonObject:
    """Return the known fields of a message."""
    return {name: value for name, value in found.items() if value is not None}

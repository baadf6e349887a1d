"""Protocol of the ways to the control plane: over the broker and over HTTP."""

from collections.abc import Callable, Sequence
from typing import Protocol

from noetl_contract.commands import CommandNotification
from noetl_contract.json import Json

from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.message import Message

type Hear = Callable[[bytes], None]
type ClaimAnswer = tuple[int, Json]
"""Status and body."""


class Channel(Protocol):
    """Carries starts, outcomes and claims, and brings their answers."""

    def open(self, message: Message, hear: Hear) -> str:
        """Return a name for the answers to a message; ``hear`` gets the body of each."""

    def forget(self, message: Message) -> None:
        """Hear no more answers to a message."""

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        """Send once, until it is stored; return whether it is the first with its id.

        Raises:
            Permanent: it will never be taken.
            NoetlError: it may not be stored.
        """

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Send without raising, each with its id: what fails is due again anyway."""

    async def claim(
        self,
        note: CommandNotification,
        identity: Identity,
        *,
        known_workload: int,
        after_start: bool,
        seconds: float,
    ) -> ClaimAnswer | None:
        """Claim a command once; None without an answer."""

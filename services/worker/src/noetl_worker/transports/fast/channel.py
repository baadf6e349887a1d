"""What the fast path needs of the way to the control plane: over the broker or over HTTP."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from noetl_contract.commands import CommandNotification

from noetl_worker.commands import Command
from noetl_worker.transports.fast.message import Message
from noetl_worker.workloads import Workloads

type Verdict = Literal["refused", "give_back"]
type Hear = Callable[[bytes], None]


class Channel(Protocol):
    """Carries starts and outcomes, and brings their answers."""

    @property
    def is_open(self) -> bool:
        """Whether the other side takes them."""

    def open(self, message: Message, hear: Hear) -> str:
        """Return a name for the answers to a message; ``hear`` gets the body of each."""

    def forget(self, reply: str) -> None:
        """Hear no more under a name."""

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        """Send once, until it is stored; tell whether it is the first with its id.

        Raises:
            Permanent: it will never be taken.
            NoetlError: it may not be stored.
        """

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Send without raising, each with its id: what fails is due again anyway."""


class Claims(Protocol):
    """Asks for the right to run a command."""

    @property
    def workloads(self) -> Workloads:
        """Workloads that answers have brought, which other commands name."""

    async def ask(
        self, note: CommandNotification, *, shard: int, after_start: bool
    ) -> Command | Verdict:
        """Ask until there is an answer: the command, ``refused``, or ``give_back`` without one.

        With ``after_start`` there is no giving back: if the start that was stored is this
        worker's own, no other can get the command.
        """


class Control(Protocol):
    """Tells the control plane of the worker."""

    async def register(self) -> bool:
        """Register the worker as this process; whether that worked."""

    async def heartbeat(self) -> bool:
        """Send a heartbeat; False when the worker is not registered any more."""

    async def deregister(self) -> None:
        """Deregister the worker."""

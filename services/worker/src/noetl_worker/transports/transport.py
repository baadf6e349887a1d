"""What both transports offer to the worker."""

from typing import Protocol

from noetl_common.bus.delivery import Delivery


class Transport(Protocol):
    """Claims commands, reports their outcomes, shows that the worker lives."""

    async def register(self) -> bool:
        """Register the worker as this process; whether that worked."""

    async def heartbeat(self) -> bool:
        """Tell that the worker lives; False when it is not known any more."""

    async def deregister(self) -> None:
        """Take the worker out; what it still holds is given to others."""

    async def handle(self, delivery: Delivery) -> None:
        """Take a notification to its end: answered, and run and reported if it was ours.

        Raises:
            UndecodableNotification: it is none.
        """

    async def run_confirmations(self) -> None:
        """Repeat what was not answered, until cancelled."""

    async def settle(self, *, seconds: float) -> None:
        """Wait until everything reported has been answered, but no longer."""

"""Protocols of a transport, and of its reports about the worker to the control plane."""

from typing import Protocol

from noetl_bus.consumers.delivery import Delivery


class Control(Protocol):
    """Reports about the worker to the control plane."""

    async def register(self) -> bool:
        """Register the worker as this process; whether that worked."""

    async def heartbeat(self) -> bool:
        """Send a heartbeat; False when the worker is not registered any more."""

    async def deregister(self) -> None:
        """Deregister the worker; its commands are given to others."""


class Transport(Control, Protocol):
    """Claim commands, report their outcomes, register the worker."""

    async def handle(self, delivery: Delivery) -> None:
        """Handle a notification: acknowledge it, and run and report the command if it is won.

        Raises:
            UndecodableNotification: it can't be decoded.
        """

    async def run_confirmations(self) -> None:
        """Repeat unanswered messages, until cancelled."""

    async def settle(self, *, seconds: float) -> None:
        """Wait until everything reported has been answered, but no longer."""

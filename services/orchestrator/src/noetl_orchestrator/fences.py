"""Capabilities of commands: issued with a notification or claim, sent with reports of workers."""

from dataclasses import dataclass

from noetl_contract.access.capability import Capability, verified
from noetl_contract.ingress import Hold

from noetl_orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Fences:
    """Make and check the secrets that prove that a worker was given a command.

    Attempts of capabilities count from 1, those of holds from 0.
    """

    settings: Settings

    def address(self, execution_id: int, event_id: int, *, attempts: int) -> str:
        """Return the edge's address with the capability of a command before the host (L6)."""
        scheme, _, place = self.settings.public_server_url.rstrip("/").partition("://")
        capability = Capability(execution_id, event_id, attempts + 1)
        login = capability.userinfo(self.settings.command_key_bytes())
        return f"{scheme}://{login}@{place.rpartition('@')[2]}"

    def fence(self, execution_id: int, event_id: int, *, attempts: int) -> str | None:
        """Return the secret of one run; None without a key."""
        capability = Capability(execution_id, event_id, attempts + 1)
        return capability.userinfo(self.settings.command_key_bytes()).partition(":")[2] or None

    def admits_run(self, execution_id: int, hold: Hold) -> bool:
        """Return whether a start or outcome has the fence of the run that it names."""
        if not self._are_required():
            return True
        shown = self._shown(execution_id, hold.event_id, hold.fence)
        return shown is not None and shown.attempt == hold.attempts + 1

    def admits_claim(self, execution_id: int, event_id: int, fence: str | None) -> bool:
        """Return whether a claim proves that its sender got a notification of the command."""
        return not self._are_required() or self._shown(execution_id, event_id, fence) is not None

    def _are_required(self) -> bool:
        return bool(self.settings.command_key.get_secret_value())

    def _shown(self, execution_id: int, event_id: int, fence: str | None) -> Capability | None:
        key = self.settings.command_key_bytes()
        return verified(f"{execution_id}.{event_id}", fence or "", key)

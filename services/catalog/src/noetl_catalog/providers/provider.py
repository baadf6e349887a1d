"""The interface of a provider of secrets."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from noetl_contract.json import Json


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, text or several texts by key, and when its issuer lets it expire."""

    value: Json = field(repr=False)
    expires_at: datetime | None = None


class Provider(Protocol):
    """One place that keeps or issues secrets."""

    async def fetch(self, reference: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """

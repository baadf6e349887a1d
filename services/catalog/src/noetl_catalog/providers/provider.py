"""A provider of secrets."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.json import Json

from noetl_catalog.providers.calls import Calls
from noetl_catalog.providers.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, text or several texts by key, and when its issuer lets it expire."""

    value: Json = field(repr=False)
    expires_at: datetime | None = None


class Provider(ABC):
    """One place that keeps or issues secrets."""

    def __init__(self, calls: Calls, settings: ProviderSettings) -> None:
        self._calls = calls
        self._settings = settings

    @abstractmethod
    async def fetch(self, reference: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """

"""The interface of providers of secrets; installed packages may add providers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from noetl_contract.json import Json, JsonObject

from noetl_catalog.providers.calls import Calls
from noetl_catalog.providers.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Replaced:
    """A field of the stored credential that the issuer has replaced: sent value and new value."""

    name: str
    sent: str = field(repr=False)
    now: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, which is a text or several texts by key, with its expiry."""

    value: Json = field(repr=False)
    expires_at: datetime | None = None
    replaced: Replaced | None = field(default=None, repr=False)
    """The field of the credential that the issuer has replaced, such as a refresh token."""


class Provider(ABC):
    """A store or issuer of secrets.

    An entry point of the group ``noetl.keychain_providers`` names the class; the name of the entry
    point is the ``provider`` of keychain entries. One object is created for each fetch of a secret.

    Args:
        calls: HTTP client with limits, whose errors name the provider and quote no secret.
        settings: addresses and logins of the built-in providers; others have their own settings.
    """

    asks_again: ClassVar[bool] = False
    """Whether workers retry after a failure (status 502 instead of 500)."""
    credential_type: ClassVar[str] = "keychain"
    """Type of the credential for tools whose ``auth`` names the entry."""

    def __init__(self, calls: Calls, settings: ProviderSettings) -> None:
        self._calls = calls
        self._settings = settings

    @classmethod
    def ca_file(cls, settings: ProviderSettings) -> str:  # noqa: ARG003 -- for subclasses
        """Return the file of the provider's own certificate authority, or an empty text."""
        return ""

    @classmethod
    def entry_problem(cls, entry: Mapping[str, Json]) -> str | None:  # noqa: ARG003 -- for subclasses
        """Return the problem of an entry that is being registered, or None."""
        return None

    @abstractmethod
    async def fetch(self, reference: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ProviderFailed: the secret doesn't exist or can't be read.
        """

    async def fetch_entry(self, reference: str, options: JsonObject) -> Secret:  # noqa: ARG002
        """Return the secret of an entry, for providers that also use other keys of the entry.

        Args:
            reference: name of the secret.
            options: rendered keys of the entry, except the keys about its caching.

        Raises:
            ProviderFailed: the secret doesn't exist or can't be read.
        """
        return await self.fetch(reference)

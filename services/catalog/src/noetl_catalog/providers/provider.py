"""What a provider of secrets is; packages of their own may bring some."""

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
    """A field of the stored credential that counts no more: what was sent, and what counts now."""

    name: str
    sent: str = field(repr=False)
    now: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, text or several texts by key, and when its issuer lets it expire."""

    value: Json = field(repr=False)
    expires_at: datetime | None = None
    replaced: Replaced | None = field(default=None, repr=False)
    """What its issuer has replaced with the answer, as a refresh token."""


class Provider(ABC):
    """One place that keeps or issues secrets.

    An entry point of the group ``noetl.keychain_providers`` gives the class; its name is the
    ``provider`` of keychain entries. One object is made for each time a secret is fetched.

    Args:
        calls: HTTP with a timeout, a bound, and errors that name the provider and quote no secret.
        settings: addresses and logins of the built-in providers; others read their own.
    """

    asks_again: ClassVar[bool] = False
    """Whether workers ask again after a failure (502 in place of 500)."""
    credential_type: ClassVar[str] = "keychain"
    """The type of credential that the value is for the tools whose ``auth`` names the entry."""

    def __init__(self, calls: Calls, settings: ProviderSettings) -> None:
        self._calls = calls
        self._settings = settings

    @classmethod
    def ca_file(cls, settings: ProviderSettings) -> str:  # noqa: ARG003 -- of those that have one
        """Return the file of a certificate authority of the provider's own; empty without one."""
        return ""

    @classmethod
    def entry_problem(cls, entry: Mapping[str, Json]) -> str | None:  # noqa: ARG003 -- of some
        """Return what is wrong with an entry, for its registration; None when nothing is."""
        return None

    @abstractmethod
    async def fetch(self, reference: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """

    async def fetch_entry(self, reference: str, options: JsonObject) -> Secret:  # noqa: ARG002
        """Return the secret of an entry; for providers that its other keys say more to.

        Args:
            reference: the place of the secret.
            options: the entry's keys, rendered; those that say how it is kept are left out.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """
        return await self.fetch(reference)

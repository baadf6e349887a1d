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
    """A field of the stored credential that the issuer replaced: value sent, and new value."""

    name: str
    sent: str = field(repr=False)
    now: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, text or several texts by key, and when its issuer lets it expire."""

    value: Json = field(repr=False)
    expires_at: datetime | None = None
    replaced: Replaced | None = field(default=None, repr=False)
    """The credential's field that the issuer replaced in its answer, such as a refresh token."""


class Provider(ABC):
    """A store or issuer of secrets.

    An entry point of the group ``noetl.keychain_providers`` gives the class; its name is the
    ``provider`` of keychain entries. One object is made for each time a secret is fetched.

    Args:
        calls: HTTP with a timeout, a bound, and errors that name the provider and quote no secret.
        settings: addresses and logins of the built-in providers; others read their own.
    """

    asks_again: ClassVar[bool] = False
    """Whether workers retry after a failure (502 in place of 500)."""
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
        """Return the problem with an entry that is being registered; None when it is valid."""
        return None

    @abstractmethod
    async def fetch(self, reference: str) -> Secret:
        """Return the secret that a reference names.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """

    async def fetch_entry(self, reference: str, options: JsonObject) -> Secret:  # noqa: ARG002
        """Return the secret of an entry; for providers that use the entry's other keys too.

        Args:
            reference: the place of the secret.
            options: the entry's keys, rendered; those that say how it is kept are left out.

        Raises:
            ProviderFailed: there is none, or it can't be had.
        """
        return await self.fetch(reference)

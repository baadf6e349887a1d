"""Rows of the existing server, as read over its API or from its database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from noetl_contract.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class OldEntry:
    """One version of a document.

    Attributes:
        created_at: when it was registered; None where that isn't known.
    """

    catalog_id: int
    path: str
    version: int
    kind: str
    content: str
    created_at: datetime | None = None

    @property
    def name(self) -> str:
        """Its name in reports."""
        return f"{self.path} v{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSecret:
    """A value that may be secret.

    Attributes:
        value: in clear.
        trouble: why there is no value; empty where there is one.
    """

    value: Json = field(default=None, repr=False)
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCredential:
    """A credential; ``number`` is its id."""

    number: int
    name: str
    kind: str
    secret: OldSecret
    meta: Json = None
    tags: list[str] | None = None
    description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OldKeychainEntry:
    """An entry of the keychain of one version of a playbook.

    Attributes:
        expires_at: None where that isn't known.
        execution_id: the execution that alone may use it.
    """

    keychain_name: str
    catalog_id: int
    scope_type: str
    secret: OldSecret
    expires_at: datetime | None
    is_expired: bool
    execution_id: int | None = None
    credential_type: str = "secret"
    cache_type: str = "secret"
    auto_renew: bool = False
    renew_config: Json = None

    @property
    def name(self) -> str:
        """Its name in reports."""
        return f"{self.keychain_name} of catalog entry {self.catalog_id} ({self.scope_type})"

    @property
    def cache_key(self) -> str:
        """The key of an entry that belongs to no execution."""
        scope = self.scope_type if self.scope_type in {"local", "shared"} else "global"
        return f"{self.keychain_name}:{self.catalog_id}:{scope}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWorker:
    """A registration of a worker."""

    number: int
    name: str
    uri: str | None
    status: str
    labels: Json
    capabilities: Json
    capacity: int | None
    runtime: Json
    heartbeat: datetime


class Source(Protocol):
    """A door of the existing server; all that is read is read page by page."""

    name: str
    """Its address, without a login."""

    def entries(self) -> AsyncIterator[OldEntry]:
        """Return all versions of all documents."""

    def credentials(self) -> AsyncIterator[OldCredential]:
        """Return the credentials."""

    def keychain(self) -> AsyncIterator[OldKeychainEntry]:
        """Return the entries of keychains."""

    def workers(self) -> AsyncIterator[OldWorker]:
        """Return the registrations of workers."""

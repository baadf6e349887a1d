"""Rows of the tables of secrets; no `repr` shows an encrypted text."""

from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential to store; None becomes NULL."""

    id: int
    name: str
    type: str
    data_encrypted: str = field(repr=False)
    meta: Json = None
    tags: list[str] | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A stored credential."""

    id: int
    name: str
    type: str
    data_encrypted: str = field(repr=False)
    meta: Json
    tags: list[str] | None
    description: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeychain:
    """An entry to store; without an expiry it lives for ``life_seconds``."""

    cache_key: str
    keychain_name: str
    catalog_id: int
    scope_type: str
    data_encrypted: str = field(repr=False)
    expires_at: datetime | None
    life_seconds: float
    credential_type: str | None = None
    cache_type: str | None = None
    execution_id: int | None = None
    parent_execution_id: int | None = None
    auto_renew: bool = False
    renew_config: Json = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeychainRow:
    """A stored entry; ``is_expired`` by the database's clock."""

    cache_key: str
    keychain_name: str
    catalog_id: int
    credential_type: str
    cache_type: str
    scope_type: str
    execution_id: int | None
    data_encrypted: str = field(repr=False)
    expires_at: datetime
    is_expired: bool
    created_at: datetime
    accessed_at: datetime
    access_count: int
    auto_renew: bool
    renew_config: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A record of the audit: reader, operation, secret and outcome."""

    audit_id: int
    credential: str
    operation: str
    outcome: str
    worker_id: str | None = None
    execution_id: int | None = None
    parent_execution_id: int | None = None
    server_region: str | None = None
    broker_region: str | None = None
    kek_version: str | None = None
    notes: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Criteria of an audit list."""

    credential: str | None = None
    execution_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None

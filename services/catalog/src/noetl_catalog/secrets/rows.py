"""Rows of the tables of secrets; no `repr` shows an encrypted text."""

from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.json import JsonObject


@dataclass(frozen=True, slots=True)
class Credential:
    """A stored credential."""

    body: CredentialBody
    data_encrypted: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeychainRow:
    """A stored entry; ``is_expired`` by the database's clock."""

    data_encrypted: str = field(repr=False)
    expires_at: datetime
    is_expired: bool
    access_count: int
    auto_renew: bool
    life_seconds: float | None = None
    """Lifetime of the provider's secret when it was received, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """Another process that asks a provider for a secret, or a pause after a failure.

    ``rests_seconds`` are left of the pause; ``error`` says what failed.
    """

    rests_seconds: float
    error: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A record of the audit to write: reader, operation, secret and outcome."""

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
    principal: str | None = None

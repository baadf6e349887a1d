"""The audit: reads and changes of secrets, with their readers."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TypedDict, Unpack

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger

from noetl_catalog.secrets.rows import AuditRow
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_log = get_logger()


class Action(StrEnum):
    """Audited actions; the first four words are the contract's."""

    GET_SEALED = "get_sealed"
    CROSS_REGION = "cross_region_broker_serve"
    RESOLVE_KEYCHAIN = "resolve_keychain"
    GET_CREDENTIAL = "get_credential"
    PUT_CREDENTIAL = "put_credential"
    DELETE_CREDENTIAL = "delete_credential"
    GET_KEYCHAIN = "get_keychain"
    PUT_KEYCHAIN = "put_keychain"
    DELETE_KEYCHAIN = "delete_keychain"


class Outcome(StrEnum):
    """Results of audited actions; the contract lacks the last three."""

    OK = "ok"
    RESIDENCY_VIOLATION = "residency_violation"
    BROKER_UNREACHABLE = "broker_unreachable"
    NOT_FOUND = "credential_not_found"
    NO_PUBKEY = "no_pubkey"
    WRONG_REGION = "wrong_region"
    PROVIDER_ERROR = "provider_fetch_error"
    TEMPLATE_ERROR = "template_error"
    FORBIDDEN = "forbidden"
    UNREADABLE = "decryption_error"
    FAILED = "failed"


_WRITES = metrics.counter(
    "noetl_secret_audit_writes_total",
    "Audit rows",
    ["operation", "outcome", "status"],
    zeros=product(Action, (Outcome.OK,), ("written", "failed_strict", "dropped_async")),
)

_LOST = metrics.counter(
    "noetl_secret_audit_lost_total",
    "Records that could not be stored, of all operations and outcomes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The worker and the execution for which a secret is read, and the caller."""

    worker_id: str | None = None
    execution_id: int | None = None
    parent_execution_id: int | None = None
    principal: str | None = None


class Details(TypedDict, total=False):
    """Further columns of a record."""

    broker_region: str
    kek_version: str | None
    notes: str


class Audit:
    """Records of the audit.

    A read is recorded before it is answered. When recording fails, the secret is returned
    nevertheless and the loss is counted; the strict setting refuses the read instead.
    """

    def __init__(self, store: SecretStore, *, ids: SnowflakeIds, settings: SecretSettings) -> None:
        self._store = store
        self._ids = ids
        self._region = settings.server_region or None
        self._is_strict = settings.secret_audit_required

    def row(
        self,
        credential: str,
        action: Action,
        outcome: Outcome = Outcome.OK,
        *,
        reader: Reader | None = None,
        **details: Unpack[Details],
    ) -> AuditRow:
        """Build a record, for the transaction of the change itself.

        Raises:
            NotMinting: no ids are made at the moment.
        """
        reader = reader or Reader()
        return AuditRow(
            audit_id=self._ids.next(),
            credential=credential,
            operation=action,
            outcome=outcome,
            worker_id=reader.worker_id,
            execution_id=reader.execution_id,
            parent_execution_id=reader.parent_execution_id,
            server_region=self._region,
            principal=reader.principal,
            **details,
        )

    async def record(
        self,
        credential: str,
        action: Action,
        outcome: Outcome = Outcome.OK,
        *,
        reader: Reader,
        **details: Unpack[Details],
    ) -> None:
        """Record a read.

        Raises:
            NoetlError: recording failed, and the setting is strict.
        """
        try:
            row = self.row(credential, action, outcome, reader=reader, **details)
            await self._store.insert_audit(row)
        except NoetlError as error:
            status = "failed_strict" if self._is_strict else "dropped_async"
            _WRITES.labels(action, outcome, status).inc()
            _LOST.inc()
            _log.error("secret_audit_lost", operation=action, error=error.message)
            if self._is_strict:
                raise
        else:
            _WRITES.labels(action, outcome, "written").inc()

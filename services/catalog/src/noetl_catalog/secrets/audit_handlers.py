"""Reads of the audit of secrets, one function per operation."""

from noetl_common.bus.rpc import Encoded, Handler, encoded, handle
from noetl_contract.http.moments import rfc3339_or_none
from noetl_contract.http.secrets.keychain import AuditQuery, AuditRecords
from noetl_contract.json import JsonObject
from noetl_contract.rpc.catalog import SECRET_AUDIT

from noetl_catalog.secrets.rows import AuditFilter, AuditRow
from noetl_catalog.secrets.store import SecretStore

_MOST_ROWS = 10_000


class AuditHandlers:
    """The audit as operators read it."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [handle(SECRET_AUDIT, self.on_audit, has_details=False)]

    async def on_audit(self, request: AuditQuery) -> Encoded[AuditRecords]:
        """List reads and changes, newest first."""
        rows = await self._store.list_audit(
            AuditFilter(
                credential=request.credential,
                execution_id=request.execution_id,
                since=request.since,
                until=request.until,
            ),
            limit=max(1, min(request.limit, _MOST_ROWS)),
        )
        return encoded(SECRET_AUDIT, {"rows": [_row_body(row) for row in rows]})


def _row_body(row: AuditRow) -> JsonObject:
    return {
        "audit_id": row.audit_id,
        "occurred_at": rfc3339_or_none(row.occurred_at),
        "credential": row.credential,
        "operation": row.operation,
        "outcome": row.outcome,
        "worker_id": row.worker_id,
        "execution_id": row.execution_id,
        "parent_execution_id": row.parent_execution_id,
        "server_region": row.server_region,
        "broker_region": row.broker_region,
        "kek_version": row.kek_version,
        "notes": row.notes,
    }

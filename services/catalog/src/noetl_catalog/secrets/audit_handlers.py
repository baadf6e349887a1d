"""Reads of the audit of secrets, one function per request."""

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.moments import rfc3339_or_none
from noetl_contract.http.secrets.keychain import AuditQuery
from noetl_contract.json import JsonObject

from noetl_catalog.secrets.refusals import secret_routes
from noetl_catalog.secrets.rows import AuditFilter, AuditRow
from noetl_catalog.secrets.store import SecretStore

_MOST_ROWS = 10_000


class AuditHandlers:
    """One method per request."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return secret_routes({"secret.audit": self.on_audit})

    async def on_audit(self, request: JsonObject) -> bytes:
        """List readings and changes, newest first."""
        wanted = AuditQuery.model_validate(request)
        rows = await self._store.list_audit(
            AuditFilter(
                credential=wanted.credential,
                execution_id=wanted.execution_id,
                since=wanted.since,
                until=wanted.until,
            ),
            limit=max(1, min(wanted.limit, _MOST_ROWS)),
        )
        return encode_reply({"rows": [_row_body(row) for row in rows]})


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

"""Reads of the audit of secrets, one function per operation."""

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.http.secrets.keychain import AuditQuery, AuditRecords
from noetl_contract.rpc.catalog import SECRET_AUDIT

from noetl_catalog.secrets.store import SecretStore

_MOST_ROWS = 10_000


class AuditHandlers:
    """The audit as operators read it."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [handle(SECRET_AUDIT, self.on_audit, has_details=False)]

    async def on_audit(self, request: AuditQuery) -> AuditRecords:
        """List reads and changes, newest first."""
        limit = max(1, min(request.limit, _MOST_ROWS))
        return AuditRecords(rows=await self._store.list_audit(request, limit=limit))

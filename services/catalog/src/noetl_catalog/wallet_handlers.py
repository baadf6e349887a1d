"""What operators do with keys and ask about readings (docs/architecture.md)."""

from typing import Any

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.keychain import AuditQuery, RotateRequest
from noetl_contract.http.moments import rfc3339_or_none
from noetl_contract.rpc import RpcReply

from noetl_catalog.key_rotation import KeyRotation
from noetl_catalog.lookup import refused
from noetl_catalog.plain_errors import plainly
from noetl_catalog.secret_rows import AuditFilter, AuditRow
from noetl_catalog.secret_settings import SecretSettings
from noetl_catalog.secret_store import SecretStore

__all__ = ["WalletHandlers"]

type Json = Any
type Request = dict[str, Json]

_LARGEST_BATCH = 1000
_MOST_BATCHES = 1_000_000
_MOST_ROWS = 10_000


class WalletHandlers:
    """Rotation, its state, and the audit."""

    def __init__(
        self, store: SecretStore, *, rotation: KeyRotation, settings: SecretSettings
    ) -> None:
        self._store = store
        self._rotation = rotation
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return plainly(
            {
                "wallet.rotate": self.on_rotate,
                "wallet.status": self.on_status,
                "secret.audit": self.on_audit,
            }
        )

    async def on_rotate(self, request: Request) -> RpcReply:
        """Rotate a slice of one table; the caller asks on until it is done."""
        wanted = RotateRequest.model_validate(request)
        if wanted.table not in {"credential", "keychain"}:
            return refused(422, "table is neither credential nor keychain")
        is_credential = wanted.table == "credential"
        work = await self._rotation.rotate(
            "credential" if is_credential else "keychain",
            after=wanted.after,
            batch_size=min(wanted.batch_size, _LARGEST_BATCH),
            max_batches=min(wanted.max_batches, _MOST_BATCHES),
            seconds=self._settings.rotation_slice_seconds,
        )
        return RpcReply(
            body={
                "processed": work.processed,
                "rewrapped": work.rewrapped,
                "skipped": work.skipped,
                "failed": work.failed,
                "last_id": int(work.after) if is_credential and work.processed else 0,
                "after": work.after,
                "batches": work.batches,
                "done": work.done,
            }
        )

    async def on_status(self, _request: Request) -> bytes:
        """Count records by the version of their key."""
        return encode_reply(await self._store.count_key_versions())

    async def on_audit(self, request: Request) -> bytes:
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


def _row_body(row: AuditRow) -> Request:
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

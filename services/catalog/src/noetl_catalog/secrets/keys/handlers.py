"""Rotation of keys and its progress, one function per request."""

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.secrets.keychain import RotateRequest
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.rpc import refused
from noetl_catalog.secrets.keys.rotation import KeyRotation
from noetl_catalog.secrets.refusals import secret_routes
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_LARGEST_BATCH = 1000
_MOST_BATCHES = 1_000_000


class RotationHandlers:
    """One method per request."""

    def __init__(
        self, store: SecretStore, *, rotation: KeyRotation, settings: SecretSettings
    ) -> None:
        self._store = store
        self._rotation = rotation
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return secret_routes(
            {
                "wallet.rotate": self.on_rotate,
                "wallet.status": self.on_status,
            }
        )

    async def on_rotate(self, request: JsonObject) -> RpcReply:
        """Rotate a slice of one table; the caller repeats until it is done."""
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

    async def on_status(self, _request: JsonObject) -> bytes:
        """Count records by the version of their key."""
        return encode_reply(await self._store.count_key_versions())

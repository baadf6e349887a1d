"""Rotation of keys and its progress, one function per operation."""

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.http.secrets.keychain import KeyStatus, RotateRequest, RotateSlice
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import WALLET_ROTATE, WALLET_STATUS
from noetl_contract.rpc.models import Nothing

from noetl_catalog.secrets.keys.rotation import KeyRotation
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_LARGEST_BATCH = 1000
_MOST_BATCHES = 1_000_000


class KeyHandlers:
    """Keys as operators rotate and count them."""

    def __init__(
        self, store: SecretStore, *, rotation: KeyRotation, settings: SecretSettings
    ) -> None:
        self._store = store
        self._rotation = rotation
        self._settings = settings

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [
            handle(WALLET_ROTATE, self.on_rotate, has_details=False),
            handle(WALLET_STATUS, self.on_status, has_details=False),
        ]

    async def on_rotate(self, request: RotateRequest) -> RotateSlice | Refusal:
        """Rotate a slice of one table; the caller repeats until it is done."""
        if request.table not in {"credential", "keychain"}:
            return Refusal(422, "table is neither credential nor keychain")
        is_credential = request.table == "credential"
        work = await self._rotation.rotate(
            "credential" if is_credential else "keychain",
            after=request.after,
            batch_size=min(request.batch_size, _LARGEST_BATCH),
            max_batches=min(request.max_batches, _MOST_BATCHES),
            seconds=self._settings.rotation_slice_seconds,
        )
        return RotateSlice(
            processed=work.processed,
            rewrapped=work.rewrapped,
            skipped=work.skipped,
            failed=work.failed,
            last_id=int(work.after) if is_credential and work.processed else 0,
            after=work.after,
            batches=work.batches,
            done=work.done,
        )

    async def on_status(self, _request: Nothing) -> KeyStatus:
        """Count records by the version of their key."""
        return await self._store.count_key_versions()

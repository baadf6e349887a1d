"""Keys and the audit as operators see them, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_common.errors import NoetlError, Transient
from noetl_contract.http.secrets.keychain import (
    AuditQuery,
    AuditRecords,
    KeyStatus,
    RotateRequest,
    RotateSlice,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    SECRET_AUDIT,
    WALLET_KEY,
    WALLET_ROTATE,
    WALLET_STATUS,
    KeyUsable,
)
from noetl_contract.rpc.models import Nothing

from noetl_catalog.secrets.keys.manager import KeyMissing
from noetl_catalog.secrets.keys.readiness import KeyCheck
from noetl_catalog.secrets.keys.rotation import KeyRotation
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_LARGEST_BATCH = 1000
_MOST_BATCHES = 1_000_000
_MOST_ROWS = 10_000


class OperatorHandlers(Handlers):
    """Operations for operators: rotation and status of keys, and the audit."""

    has_details = False

    def __init__(
        self,
        store: SecretStore,
        *,
        rotation: KeyRotation,
        check: KeyCheck,
        settings: SecretSettings,
    ) -> None:
        self._store = store
        self._check = check
        self._rotation = rotation
        self._settings = settings

    @answers(WALLET_ROTATE)
    async def on_rotate(self, request: RotateRequest) -> RotateSlice | Refusal:
        """Rotate a slice of one table; the caller repeats until it is done."""
        if request.table not in {"credential", "keychain"}:
            return Refusal(422, "table is neither credential nor keychain")
        return await self._rotation.rotate(
            "credential" if request.table == "credential" else "keychain",
            after=request.after,
            batch_size=min(request.batch_size, _LARGEST_BATCH),
            max_batches=min(request.max_batches, _MOST_BATCHES),
            seconds=self._settings.rotation_slice_seconds,
        )

    @answers(WALLET_STATUS)
    async def on_status(self, _request: Nothing) -> KeyStatus:
        """Count records by the version of their key."""
        return await self._store.count_key_versions()

    @answers(WALLET_KEY)
    async def on_key(self, _request: Nothing) -> KeyUsable:
        """Say whether secrets can be opened, by the check that readiness depends on."""
        try:
            await self._check.run()
        except NoetlError as error:
            # A database that doesn't answer now says nothing about the key.
            if isinstance(error, Transient) and not isinstance(error, KeyMissing):
                raise
            return KeyUsable(is_usable=False, reason=error.message)
        return KeyUsable(is_usable=True)

    @answers(SECRET_AUDIT)
    async def on_audit(self, request: AuditQuery) -> AuditRecords:
        """List reads and changes, newest first."""
        limit = max(1, min(request.limit, _MOST_ROWS))
        return AuditRecords(rows=await self._store.list_audit(request, limit=limit))

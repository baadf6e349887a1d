"""Entries of the keychain, one function per operation."""

from datetime import UTC, datetime, timedelta

from noetl_common.bus.rpc import Handler, handle
from noetl_common.pg.errors import DataRejected
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.secrets.keychain import (
    KeychainEntryBody,
    KeychainEntryList,
    KeychainList,
    KeychainPut,
    KeychainRead,
    KeychainState,
    KeychainStored,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import KEYCHAIN_DELETE, KEYCHAIN_GET, KEYCHAIN_LIST, KEYCHAIN_PUT

from noetl_catalog.secrets.audit import Action, Audit, Reader
from noetl_catalog.secrets.keychain.entries import SCOPES, cache_key
from noetl_catalog.secrets.keys.box import SecretBox
from noetl_catalog.secrets.rows import KeychainRow, NewKeychain
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_CACHE_TYPES = frozenset({"secret", "token"})


class KeychainHandlers:
    """Keychain entries: stored, read, listed."""

    def __init__(
        self, store: SecretStore, *, box: SecretBox, audit: Audit, settings: SecretSettings
    ) -> None:
        self._store = store
        self._box = box
        self._audit = audit
        self._settings = settings

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [
            handle(KEYCHAIN_GET, self.on_get, has_details=False),
            handle(KEYCHAIN_PUT, self.on_put, has_details=False),
            handle(KEYCHAIN_DELETE, self.on_delete, has_details=False),
            handle(KEYCHAIN_LIST, self.on_list, has_details=False),
        ]

    async def on_get(self, request: KeychainRead) -> KeychainState:
        """Return an entry; its use is counted before it is decrypted."""
        row = await self._store.use_keychain(_key(request))
        if row is None:
            return KeychainState(status="not_found")
        state = KeychainState(
            status="expired",
            expires_at=rfc3339(row.expires_at),
            auto_renew=row.auto_renew,
            access_count=row.access_count,
        )
        if row.is_expired:
            return state
        opened = await self._box.open(row.data_encrypted)
        await self._audit.record(
            request.keychain_name,
            Action.GET_KEYCHAIN,
            reader=Reader(execution_id=request.execution_id),
            kek_version=opened.key_version,
        )
        return state.model_copy(update={"status": "found", "data": opened.value})

    async def on_put(self, request: KeychainPut) -> KeychainStored | Refusal:
        """Store an entry in place of the one with its key."""
        if request.scope_type not in SCOPES:
            return Refusal(
                422,
                f"Unknown scope_type '{request.scope_type[:100]}', expected local, global or shared"
                " (keychain_scope_type_check)",
            )
        if request.cache_type is not None and request.cache_type not in _CACHE_TYPES:
            return Refusal(
                422,
                f"Unknown cache_type '{request.cache_type[:100]}', expected secret or token"
                " (keychain_cache_type_check)",
            )
        try:
            expires_at = _expiry(request)
        except OverflowError:
            return Refusal(422, "expires_in is beyond the end of time")
        closed = await self._box.close(request.data)
        record = self._audit.row(
            request.keychain_name,
            Action.PUT_KEYCHAIN,
            reader=Reader(
                execution_id=request.execution_id, parent_execution_id=request.parent_execution_id
            ),
            kek_version=closed.key_version,
        )
        try:
            stored = await self._store.put_keychain(
                self._new(request, expires_at=expires_at, text=closed.text), audit=record
            )
        except DataRejected as error:
            if "keychain_catalog_id_fkey" not in error.message:
                raise
            text = f"Catalog entry '{request.catalog_id}' not found (keychain_catalog_id_fkey)"
            return Refusal(404, text)
        return KeychainStored(
            status="success",
            cache_key=stored.cache_key,
            expires_at=rfc3339(stored.expires_at),
        )

    async def on_delete(self, request: KeychainRead) -> KeychainState:
        """Delete an entry; a missing entry is no error."""
        key = _key(request)
        record = self._audit.row(
            request.keychain_name,
            Action.DELETE_KEYCHAIN,
            reader=Reader(execution_id=request.execution_id),
        )
        if not await self._store.delete_keychain(key, audit=record):
            return KeychainState(status="not_found")
        return KeychainState(status="deleted", cache_key=key)

    async def on_list(self, request: KeychainList) -> KeychainEntryList:
        """List the entries of a catalog entry, without their values."""
        rows = await self._store.list_keychain(
            request.catalog_id, limit=self._settings.credential_list_limit
        )
        return KeychainEntryList(
            catalog_id=str(request.catalog_id), entries=[_entry_body(row) for row in rows]
        )

    def _new(self, request: KeychainPut, *, expires_at: datetime | None, text: str) -> NewKeychain:
        is_local = request.scope_type == "local"
        settings = self._settings
        return NewKeychain(
            cache_key=_key(request),
            keychain_name=request.keychain_name,
            catalog_id=request.catalog_id,
            scope_type=request.scope_type,
            execution_id=request.execution_id,
            parent_execution_id=request.parent_execution_id,
            data_encrypted=text,
            expires_at=expires_at,
            life_seconds=settings.keychain_local_seconds if is_local else settings.keychain_seconds,
            credential_type=request.credential_type,
            cache_type=request.cache_type,
            auto_renew=request.auto_renew,
            renew_config=request.renew_config,
        )


def _key(request: KeychainRead | KeychainPut) -> str:
    return cache_key(
        request.keychain_name,
        catalog_id=request.catalog_id,
        scope_type=request.scope_type,
        execution_id=request.execution_id,
    )


def _expiry(request: KeychainPut) -> datetime | None:
    """Return the requested expiry; a moment wins over a span.

    Raises:
        OverflowError: the span leads out of the calendar.
    """
    if request.expires_at is not None or request.expires_in is None:
        return request.expires_at
    return datetime.now(UTC) + timedelta(seconds=request.expires_in)


def _entry_body(row: KeychainRow) -> KeychainEntryBody:
    body = KeychainEntryBody(
        keychain_name=row.keychain_name,
        scope_type=row.scope_type,
        expires_at=rfc3339(row.expires_at),
        expired=row.is_expired,
        access_count=row.access_count,
        accessed_at=rfc3339(row.accessed_at),
        created_at=rfc3339(row.created_at),
    )
    if row.execution_id is None:
        return body
    return body.model_copy(update={"execution_id": str(row.execution_id)})

"""Entries of the keychain, one function per operation."""

from datetime import UTC, datetime, timedelta

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.secrets.keychain import (
    KeychainEntryList,
    KeychainList,
    KeychainPut,
    KeychainRead,
    KeychainState,
    KeychainStored,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import KEYCHAIN_DELETE, KEYCHAIN_GET, KEYCHAIN_LIST, KEYCHAIN_PUT
from noetl_pg.errors import DataRejected

from noetl_catalog.secrets.audit import Action, Audit, Reader
from noetl_catalog.secrets.keychain.definition import SCOPES
from noetl_catalog.secrets.keychain.entries import cache_key
from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore
from noetl_catalog.secrets.uses import Uses, name_of

_CACHE_TYPES = frozenset({"secret", "token"})


class KeychainHandlers(Handlers):
    """Keychain entries: stored, read, listed."""

    has_details = False

    def __init__(
        self,
        store: SecretStore,
        *,
        box: SecretBox,
        uses: Uses,
        audit: Audit,
        settings: SecretSettings,
    ) -> None:
        self._uses = uses
        self._store = store
        self._box = box
        self._audit = audit
        self._settings = settings

    @answers(KEYCHAIN_GET)
    async def on_get(self, request: KeychainRead) -> KeychainState:
        """Return an entry; its use is counted before it is decrypted."""
        if await self._is_hidden(request):
            return KeychainState(status="not_found")
        key = _key(request)
        row = await self._store.use_keychain(key)
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
        opened = await self._box.open(row.data_encrypted, row=row_of("keychain", key))
        await self._audit.record(
            request.keychain_name,
            Action.GET_KEYCHAIN,
            reader=Reader(execution_id=request.execution_id, principal=name_of(request)),
            kek_version=opened.key_version,
        )
        return state.model_copy(update={"status": "found", "data": opened.value})

    @answers(KEYCHAIN_PUT)
    async def on_put(self, request: KeychainPut) -> KeychainStored | Refusal:
        """Store an entry, replacing the entry of the same key."""
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
        if await self._is_hidden(request):
            return Refusal(404, f"Catalog entry '{request.catalog_id}' not found")
        key = _key(request)
        closed = await self._box.close(request.data, row=row_of("keychain", key))
        record = self._audit.row(
            request.keychain_name,
            Action.PUT_KEYCHAIN,
            reader=Reader(
                execution_id=request.execution_id,
                parent_execution_id=request.parent_execution_id,
                principal=name_of(request),
            ),
            kek_version=closed.key_version,
        )
        settings = self._settings
        is_local = request.scope_type == "local"
        try:
            expiry = await self._store.put_keychain(
                key,
                request,
                expires_at=expires_at,
                life_seconds=settings.keychain_local_seconds
                if is_local
                else settings.keychain_seconds,
                data_encrypted=closed.text,
                audit=record,
            )
        except DataRejected as error:
            if "keychain_catalog_id_fkey" not in error.message:
                raise
            text = f"Catalog entry '{request.catalog_id}' not found (keychain_catalog_id_fkey)"
            return Refusal(404, text)
        return KeychainStored(status="success", cache_key=key, expires_at=rfc3339(expiry))

    @answers(KEYCHAIN_DELETE)
    async def on_delete(self, request: KeychainRead) -> KeychainState:
        """Delete an entry; a missing entry is no error."""
        if await self._is_hidden(request):
            return KeychainState(status="not_found")
        key = _key(request)
        record = self._audit.row(
            request.keychain_name,
            Action.DELETE_KEYCHAIN,
            reader=Reader(execution_id=request.execution_id, principal=name_of(request)),
        )
        if not await self._store.delete_keychain(key, audit=record):
            return KeychainState(status="not_found")
        return KeychainState(status="deleted", cache_key=key)

    @answers(KEYCHAIN_LIST)
    async def on_list(self, request: KeychainList) -> KeychainEntryList:
        """List the entries of a catalog entry, without their values."""
        catalog_id, limit = request.catalog_id, self._settings.credential_list_limit
        if await self._is_hidden(request):
            return KeychainEntryList(catalog_id=str(catalog_id), entries=[])
        entries = await self._store.list_keychain(catalog_id, limit=limit)
        return KeychainEntryList(catalog_id=str(catalog_id), entries=entries)

    async def _is_hidden(self, request: KeychainRead | KeychainPut | KeychainList) -> bool:
        """Return whether a keychain is hidden from the caller.

        A command reaches the keychain of its own playbook, and entries of its own execution.
        """
        principal = request.principal
        if principal is None or principal.is_whole:
            return False
        if principal.kind != "capability":
            path = await self._uses.path_of_entry(request.catalog_id)
            return path is None or not principal.reaches(path)
        own = principal.execution_id
        named = None if isinstance(request, KeychainList) else request.execution_id
        if own is None or named not in {None, own}:
            return True
        return await self._uses.catalog_id_of(own) != request.catalog_id


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

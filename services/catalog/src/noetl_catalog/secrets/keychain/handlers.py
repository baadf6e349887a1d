"""Entries of the keychain, one function per request."""

from datetime import UTC, datetime, timedelta

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.pg.errors import DataRejected
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.secrets.keychain import KeychainList, KeychainPut, KeychainRead
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.rpc import refused
from noetl_catalog.secrets.audit import Audit, Operation, Reader
from noetl_catalog.secrets.keychain.entries import SCOPES, cache_key
from noetl_catalog.secrets.keys.box import SecretBox
from noetl_catalog.secrets.refusals import secret_routes
from noetl_catalog.secrets.rows import KeychainRow, NewKeychain
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_CACHE_TYPES = frozenset({"secret", "token"})


class KeychainHandlers:
    """Storing, reading and listing."""

    def __init__(
        self, store: SecretStore, *, box: SecretBox, audit: Audit, settings: SecretSettings
    ) -> None:
        self._store = store
        self._box = box
        self._audit = audit
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return secret_routes(
            {
                "keychain.get": self.on_get,
                "keychain.put": self.on_put,
                "keychain.delete": self.on_delete,
                "keychain.list": self.on_list,
            }
        )

    async def on_get(self, request: JsonObject) -> bytes:
        """Return an entry; its use is counted before it is decrypted."""
        wanted = KeychainRead.model_validate(request)
        row = await self._store.use_keychain(_key(wanted))
        if row is None:
            return encode_reply({"status": "not_found"})
        rest = {
            "expires_at": rfc3339(row.expires_at),
            "auto_renew": row.auto_renew,
            "access_count": row.access_count,
        }
        if row.is_expired:
            return encode_reply({"status": "expired", **rest})
        opened = await self._box.open(row.data_encrypted)
        await self._audit.record(
            wanted.keychain_name,
            Operation.GET_KEYCHAIN,
            reader=Reader(execution_id=wanted.execution_id),
            kek_version=opened.key_version,
        )
        return encode_reply({"status": "found", "data": opened.value, **rest})

    async def on_put(self, request: JsonObject) -> RpcReply:
        """Store an entry in place of the one with its key."""
        wanted = KeychainPut.model_validate(request)
        if wanted.scope_type not in SCOPES:
            return refused(
                422,
                f"Unknown scope_type '{wanted.scope_type[:100]}', expected local, global or shared"
                " (keychain_scope_type_check)",
            )
        if wanted.cache_type is not None and wanted.cache_type not in _CACHE_TYPES:
            return refused(
                422,
                f"Unknown cache_type '{wanted.cache_type[:100]}', expected secret or token"
                " (keychain_cache_type_check)",
            )
        try:
            expires_at = _expiry(wanted)
        except OverflowError:
            return refused(422, "expires_in is beyond the end of time")
        closed = await self._box.close(wanted.data)
        record = self._audit.row(
            wanted.keychain_name,
            Operation.PUT_KEYCHAIN,
            reader=Reader(
                execution_id=wanted.execution_id, parent_execution_id=wanted.parent_execution_id
            ),
            kek_version=closed.key_version,
        )
        try:
            stored = await self._store.put_keychain(
                self._new(wanted, expires_at=expires_at, text=closed.text), audit=record
            )
        except DataRejected as error:
            if "keychain_catalog_id_fkey" not in error.message:
                raise
            text = f"Catalog entry '{wanted.catalog_id}' not found (keychain_catalog_id_fkey)"
            return refused(404, text)
        return RpcReply(
            body={
                "status": "success",
                "cache_key": stored.cache_key,
                "expires_at": rfc3339(stored.expires_at),
            }
        )

    async def on_delete(self, request: JsonObject) -> RpcReply:
        """Delete an entry; a missing entry is no error."""
        wanted = KeychainRead.model_validate(request)
        key = _key(wanted)
        record = self._audit.row(
            wanted.keychain_name,
            Operation.DELETE_KEYCHAIN,
            reader=Reader(execution_id=wanted.execution_id),
        )
        if not await self._store.delete_keychain(key, audit=record):
            return RpcReply(body={"status": "not_found"})
        return RpcReply(body={"status": "deleted", "cache_key": key})

    async def on_list(self, request: JsonObject) -> bytes:
        """List the entries of a catalog entry, without their values."""
        wanted = KeychainList.model_validate(request)
        rows = await self._store.list_keychain(
            wanted.catalog_id, limit=self._settings.credential_list_limit
        )
        entries = [_entry_body(row) for row in rows]
        return encode_reply({"catalog_id": str(wanted.catalog_id), "entries": entries})

    def _new(self, wanted: KeychainPut, *, expires_at: datetime | None, text: str) -> NewKeychain:
        is_local = wanted.scope_type == "local"
        settings = self._settings
        return NewKeychain(
            cache_key=_key(wanted),
            keychain_name=wanted.keychain_name,
            catalog_id=wanted.catalog_id,
            scope_type=wanted.scope_type,
            execution_id=wanted.execution_id,
            parent_execution_id=wanted.parent_execution_id,
            data_encrypted=text,
            expires_at=expires_at,
            life_seconds=settings.keychain_local_seconds if is_local else settings.keychain_seconds,
            credential_type=wanted.credential_type,
            cache_type=wanted.cache_type,
            auto_renew=wanted.auto_renew,
            renew_config=wanted.renew_config,
        )


def _key(wanted: KeychainRead | KeychainPut) -> str:
    return cache_key(
        wanted.keychain_name,
        catalog_id=wanted.catalog_id,
        scope_type=wanted.scope_type,
        execution_id=wanted.execution_id,
    )


def _expiry(wanted: KeychainPut) -> datetime | None:
    """Return the requested expiry; a moment wins over a span.

    Raises:
        OverflowError: the span leads out of the calendar.
    """
    if wanted.expires_at is not None or wanted.expires_in is None:
        return wanted.expires_at
    return datetime.now(UTC) + timedelta(seconds=wanted.expires_in)


def _entry_body(row: KeychainRow) -> JsonObject:
    body: JsonObject = {"keychain_name": row.keychain_name, "scope_type": row.scope_type}
    if row.execution_id is not None:
        body["execution_id"] = str(row.execution_id)
    return body | {
        "expires_at": rfc3339(row.expires_at),
        "expired": row.is_expired,
        "access_count": row.access_count,
        "accessed_at": rfc3339(row.accessed_at),
        "created_at": rfc3339(row.created_at),
    }

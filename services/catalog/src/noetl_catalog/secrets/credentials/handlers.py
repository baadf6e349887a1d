"""Stored credentials, one function per request."""

import orjson
from noetl_common import metrics
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.crypto.errors import BadKey
from noetl_common.crypto.sealed import decode_public_key, seal
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.secrets.credentials import (
    CredentialCreate,
    CredentialList,
    CredentialRead,
    CrossRegionRequest,
    SealedRead,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.rpc import refused
from noetl_catalog.secrets.audit import Audit, Operation, Outcome, Reader
from noetl_catalog.secrets.credentials.cross_region import CrossRegionClient
from noetl_catalog.secrets.credentials.reader import SecretReader, credential_body
from noetl_catalog.secrets.errors import BrokerUnreachable, ResidencyViolation
from noetl_catalog.secrets.keys.box import SecretBox
from noetl_catalog.secrets.refusals import secret_routes
from noetl_catalog.secrets.rows import NewCredential
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_SEALED = metrics.counter("noetl_credentials_sealed_total", "Sealed hand-outs", ["status"])


class CredentialHandlers:
    """Storing, listing, reading and sealing."""

    def __init__(
        self,
        store: SecretStore,
        *,
        box: SecretBox,
        reader: SecretReader,
        audit: Audit,
        cross_region: CrossRegionClient,
        ids: SnowflakeIds,
        settings: SecretSettings,
    ) -> None:
        self._store = store
        self._box = box
        self._reader = reader
        self._audit = audit
        self._cross_region = cross_region
        self._ids = ids
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return secret_routes(
            {
                "credential.create": self.on_create,
                "credential.list": self.on_list,
                "credential.get": self.on_get,
                "credential.delete": self.on_delete,
                "credential.sealed": self.on_sealed,
                "credential.cross_region": self.on_cross_region,
            }
        )

    async def on_create(self, request: JsonObject) -> RpcReply:
        """Store a credential, in place of the one with its name."""
        wanted = CredentialCreate.model_validate(request)
        closed = await self._box.close(wanted.data)
        stored = await self._store.put_credential(
            NewCredential(
                id=self._ids.next(),
                name=wanted.name,
                type=wanted.type,
                data_encrypted=closed.text,
                meta=wanted.meta,
                tags=wanted.tags,
                description=wanted.description,
            ),
            audit=self._audit.row(
                wanted.name, Operation.PUT_CREDENTIAL, kek_version=closed.key_version
            ),
        )
        return RpcReply(body=credential_body(stored))

    async def on_list(self, request: JsonObject) -> bytes:
        """List credentials, newest first, without their data."""
        wanted = CredentialList.model_validate(request)
        found = await self._store.list_credentials(
            type_=wanted.type, part=wanted.q, limit=self._settings.credential_list_limit
        )
        body: JsonObject = {"items": [credential_body(credential) for credential in found]}
        named = wanted.model_dump(exclude_none=True)
        if named:
            body["filter"] = named
        return encode_reply(body)

    async def on_get(self, request: JsonObject) -> RpcReply | bytes:
        """Return a credential, decrypted when its data is asked for."""
        wanted = CredentialRead.model_validate(request)
        if wanted.include_data:
            body = await self._reader.read(
                wanted.identifier, Operation.GET_CREDENTIAL, reader=_reader(wanted)
            )
        else:
            stored = await self._store.find_credential(wanted.identifier)
            body = None if stored is None else credential_body(stored)
        return _not_found(wanted.identifier) if body is None else encode_reply(body)

    async def on_delete(self, request: JsonObject) -> RpcReply:
        """Delete a credential."""
        identifier = str(request["identifier"])
        stored = await self._store.find_credential(identifier)
        if stored is None:
            return _not_found(identifier)
        record = self._audit.row(stored.name, Operation.DELETE_CREDENTIAL)
        if not await self._store.delete_credential(stored.id, audit=record):
            return refused(500, "Failed to delete credential")
        return RpcReply(body={"id": str(stored.id), "message": "Credential deleted successfully"})

    async def on_sealed(self, request: JsonObject) -> RpcReply:
        """Return a credential that only the worker can read."""
        wanted = SealedRead.model_validate(request)
        reader = _reader(wanted, worker_id=wanted.worker_id)
        try:
            recipient = await self._recipient(wanted.worker_id)
        except BadKey as error:
            await self._audit.record(
                wanted.identifier, Operation.GET_SEALED, Outcome.NO_PUBKEY, reader=reader
            )
            return refused(400, error.message)
        try:
            body = await self._reader.read(wanted.identifier, Operation.GET_SEALED, reader=reader)
        except ResidencyViolation as error:
            return await self._ask_region(wanted, error, recipient=recipient, reader=reader)
        except NoetlError:
            _SEALED.labels("credential_error").inc()
            raise
        if body is None:
            _SEALED.labels("credential_error").inc()
            return _not_found(wanted.identifier)
        try:
            envelope = seal(orjson.dumps(body), recipient=recipient)
        except NoetlError:
            _SEALED.labels("seal_error").inc()
            raise
        _SEALED.labels("ok").inc()
        return RpcReply(body=envelope)

    async def on_cross_region(self, request: JsonObject) -> RpcReply:
        """Serve a peer in another region whose worker asks for a secret of this one."""
        wanted = CrossRegionRequest.model_validate(request)
        reader = _reader(wanted, worker_id=wanted.worker_id)
        own = self._settings.server_region
        if wanted.expected_entry_region != own:
            self._cross_region.served(wanted.expected_entry_region, "wrong_region")
            await self._record_cross(wanted, Outcome.WRONG_REGION, reader)
            return refused(
                403,
                f"cross-region broker: this server is in region '{own}', not"
                f" '{wanted.expected_entry_region}' as the requesting peer expected",
            )
        try:
            recipient = decode_public_key(
                wanted.worker_public_key_b64,
                base64_text="cross-region: invalid worker_public_key_b64: base64 decode: {error}",
                length_text="cross-region: invalid worker_public_key_b64: expected 32 bytes,"
                " got {length}",
            )
        except BadKey as error:
            self._cross_region.served(wanted.requesting_region, "bad_pubkey")
            await self._record_cross(wanted, Outcome.NO_PUBKEY, reader)
            return refused(400, error.message)
        try:
            body = await self._reader.read(wanted.alias, Operation.CROSS_REGION, reader=reader)
        except NoetlError:
            self._cross_region.served(wanted.requesting_region, "resolve_error")
            raise
        if body is None:
            self._cross_region.served(wanted.requesting_region, "resolve_error")
            return _not_found(wanted.alias)
        try:
            envelope = seal(orjson.dumps(body), recipient=recipient)
        except NoetlError:
            self._cross_region.served(wanted.requesting_region, "seal_error")
            raise
        self._cross_region.served(wanted.requesting_region, "ok")
        return RpcReply(body=envelope)

    async def _recipient(self, worker_id: str) -> bytes:
        key = await self._store.find_public_key(worker_id)
        if not key:
            _SEALED.labels("no_pubkey").inc()
            raise BadKey(
                reason=f"worker '{worker_id}' did not register a sealing pubkey"
                " (worker_public_key missing from the noetl.runtime row, or the worker_pool row"
                " doesn't exist)"
            )
        name = worker_id.replace("{", "{{").replace("}", "}}")
        try:
            return decode_public_key(
                key,
                base64_text=f"worker '{name}' worker_public_key base64: {{error}}",
                length_text=f"worker '{name}' worker_public_key must be 32 bytes, got {{length}}",
            )
        except BadKey:
            _SEALED.labels("worker_not_found").inc()
            raise

    async def _ask_region(
        self, wanted: SealedRead, error: ResidencyViolation, *, recipient: bytes, reader: Reader
    ) -> RpcReply:
        """Let the secret's own region seal it, if the registry has that region."""
        region = str(error.context["entry_region"])
        if not self._cross_region.has(region):
            _SEALED.labels("residency_violation").inc()
            raise error
        try:
            envelope = await self._cross_region.resolve(
                region,
                CrossRegionRequest.of(
                    wanted,
                    recipient=recipient,
                    entry_region=region,
                    own_region=self._settings.server_region,
                ),
            )
        except BrokerUnreachable:
            await self._audit.record(
                wanted.identifier,
                Operation.GET_SEALED,
                Outcome.BROKER_UNREACHABLE,
                reader=reader,
                broker_region=region,
            )
            raise
        await self._audit.record(
            wanted.identifier, Operation.GET_SEALED, reader=reader, broker_region=region
        )
        _SEALED.labels("ok_via_broker").inc()
        return RpcReply(body=envelope)

    async def _record_cross(
        self, wanted: CrossRegionRequest, outcome: Outcome, reader: Reader
    ) -> None:
        await self._audit.record(
            wanted.alias,
            Operation.CROSS_REGION,
            outcome,
            reader=reader,
            notes=f"requested by {wanted.requesting_region or '-'}",
        )


def _reader(
    wanted: CredentialRead | SealedRead | CrossRegionRequest, *, worker_id: str | None = None
) -> Reader:
    return Reader(
        worker_id=worker_id,
        execution_id=wanted.execution_id,
        parent_execution_id=wanted.parent_execution_id,
    )


def _not_found(identifier: str) -> RpcReply:
    return refused(404, f"Credential '{identifier}' not found")

"""Stored credentials, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_common import metrics
from noetl_common.crypto.errors import BadKey
from noetl_common.crypto.sealed import decode_public_key, seal
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.secrets.credentials import (
    CredentialBody,
    CredentialDeleted,
    CredentialList,
    CredentialListAnswer,
    CredentialRead,
    CrossRegionRequest,
    SealedEnvelope,
    SealedRead,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    CREDENTIAL_CREATE,
    CREDENTIAL_CROSS_REGION,
    CREDENTIAL_DELETE,
    CREDENTIAL_GET,
    CREDENTIAL_LIST,
    CREDENTIAL_PLATFORM,
    CREDENTIAL_SEALED,
    CredentialName,
    CredentialStore,
)
from noetl_contract.rpc.operation import encode_value

from noetl_catalog.entries.reach import stems
from noetl_catalog.secrets.audit import Action, Audit, Outcome, Reader
from noetl_catalog.secrets.credentials.cross_region import CrossRegionClient
from noetl_catalog.secrets.credentials.reader import SecretReader
from noetl_catalog.secrets.errors import BrokerUnreachable, ResidencyViolation
from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore
from noetl_catalog.secrets.uses import change_refused, hidden, name_of, scoped

_SEALED = metrics.counter(
    "noetl_credentials_sealed_total",
    "Sealed hand-outs",
    ["status"],
    zeros=(
        "ok",
        "ok_via_broker",
        "no_pubkey",
        "worker_not_found",
        "residency_violation",
        "credential_error",
        "seal_error",
    ),
)


class CredentialHandlers(Handlers):
    """Credentials: stored, listed, read, sealed for a worker."""

    has_details = False

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

    @answers(CREDENTIAL_CREATE)
    async def on_create(self, request: CredentialStore) -> CredentialBody | Refusal:
        """Store a credential, replacing the credential of the same name."""
        new = scoped(request.principal, request)
        if isinstance(new, Refusal):
            return new
        if request.principal is not None and not request.principal.is_whole:
            known = await self._store.find_named(request.name)
            refused = None if known is None else change_refused(request.principal, known)
            if refused is not None:
                return refused
        closed = await self._box.close(request.data, row=row_of("credential", request.name))
        return await self._store.put_credential(
            self._ids.next(),
            new,
            data_encrypted=closed.text,
            audit=self._audit.row(
                request.name,
                Action.PUT_CREDENTIAL,
                reader=Reader(principal=name_of(request)),
                kek_version=closed.key_version,
            ),
        )

    @answers(CREDENTIAL_LIST)
    async def on_list(self, request: CredentialList) -> CredentialListAnswer:
        """List credentials, newest first, without their data."""
        found = await self._store.list_credentials(
            type_=request.type,
            part=request.q,
            limit=self._settings.credential_list_limit,
            stems=stems(request.principal),
        )
        answer = CredentialListAnswer(items=found)
        named = request.model_dump(exclude_none=True, exclude={"principal"})
        return answer.model_copy(update={"filter": named}) if named else answer

    @answers(CREDENTIAL_GET)
    async def on_get(self, request: CredentialRead) -> CredentialBody | Refusal:
        """Return a credential, with decrypted data if the request asks for it."""
        if request.include_data:
            body = await self._reader.read(
                request.identifier,
                Action.GET_CREDENTIAL,
                reader=_reader(request),
                principal=request.principal,
            )
        else:
            stored = await self._store.find_credential(request.identifier)
            body = None if stored is None else stored.body
            if body is not None and hidden(request.principal, body):
                body = None
        return _not_found(request.identifier) if body is None else body

    @answers(CREDENTIAL_PLATFORM)
    async def on_platform(self, request: CredentialName) -> CredentialBody | Refusal:
        """Return a credential that no playbook may use, to a service that logs in with it."""
        stored = await self._store.find_credential(request.identifier)
        if stored is None:
            return _not_found(request.identifier)
        if stored.body.allowed_paths != []:
            return Refusal(
                403,
                f"Credential '{stored.body.name}' may be used by playbooks; a login of the "
                "platform is stored with allowed_paths []",
            )
        reader = Reader(principal=name_of(request))
        body = await self._reader.read(stored.body.name, Action.GET_CREDENTIAL, reader=reader)
        return _not_found(request.identifier) if body is None else body

    @answers(CREDENTIAL_DELETE)
    async def on_delete(self, request: CredentialName) -> CredentialDeleted | Refusal:
        """Delete a credential."""
        stored = await self._store.find_credential(request.identifier)
        if stored is None or hidden(request.principal, stored.body):
            return _not_found(request.identifier)
        if (refused := change_refused(request.principal, stored.body)) is not None:
            return refused
        record = self._audit.row(
            stored.body.name,
            Action.DELETE_CREDENTIAL,
            reader=Reader(principal=name_of(request)),
        )
        if not await self._store.delete_credential(int(stored.body.id), audit=record):
            return Refusal(500, "Failed to delete credential")
        return CredentialDeleted(id=stored.body.id, message="Credential deleted successfully")

    @answers(CREDENTIAL_SEALED)
    async def on_sealed(self, request: SealedRead) -> SealedEnvelope | Refusal:
        """Return a credential that only the worker can read."""
        reader = _reader(request, worker_id=request.worker_id)
        try:
            recipient = await self._recipient(request.worker_id)
        except BadKey as error:
            await self._audit.record(
                request.identifier, Action.GET_SEALED, Outcome.NO_PUBKEY, reader=reader
            )
            return Refusal(400, error.message)
        try:
            body = await self._reader.read(
                request.identifier, Action.GET_SEALED, reader=reader, principal=request.principal
            )
        except ResidencyViolation as error:
            return await self._ask_region(request, error, recipient=recipient, reader=reader)
        except NoetlError:
            _SEALED.labels("credential_error").inc()
            raise
        if body is None:
            _SEALED.labels("credential_error").inc()
            return _not_found(request.identifier)
        try:
            envelope = seal(encode_value(body), recipient=recipient)
        except NoetlError:
            _SEALED.labels("seal_error").inc()
            raise
        _SEALED.labels("ok").inc()
        return envelope

    @answers(CREDENTIAL_CROSS_REGION)
    async def on_cross_region(self, request: CrossRegionRequest) -> SealedEnvelope | Refusal:
        """Answer another region, whose worker needs a secret of this region."""
        reader = _reader(request, worker_id=request.worker_id)
        own = self._settings.server_region
        if request.expected_entry_region != own:
            self._cross_region.served(request.expected_entry_region, "wrong_region")
            await self._record_cross(request, Outcome.WRONG_REGION, reader)
            return Refusal(
                403,
                f"cross-region broker: this server is in region '{own}', not"
                f" '{request.expected_entry_region}' as the requesting peer expected",
            )
        try:
            recipient = decode_public_key(
                request.worker_public_key_b64,
                base64_text="cross-region: invalid worker_public_key_b64: base64 decode: {error}",
                length_text="cross-region: invalid worker_public_key_b64: expected 32 bytes,"
                " got {length}",
            )
        except BadKey as error:
            self._cross_region.served(request.requesting_region, "bad_pubkey")
            await self._record_cross(request, Outcome.NO_PUBKEY, reader)
            return Refusal(400, error.message)
        try:
            body = await self._reader.read(request.alias, Action.CROSS_REGION, reader=reader)
        except NoetlError:
            self._cross_region.served(request.requesting_region, "resolve_error")
            raise
        if body is None:
            self._cross_region.served(request.requesting_region, "resolve_error")
            return _not_found(request.alias)
        try:
            envelope = seal(encode_value(body), recipient=recipient)
        except NoetlError:
            self._cross_region.served(request.requesting_region, "seal_error")
            raise
        self._cross_region.served(request.requesting_region, "ok")
        return envelope

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
        self, request: SealedRead, error: ResidencyViolation, *, recipient: bytes, reader: Reader
    ) -> SealedEnvelope:
        """Ask the secret's own region to seal it, if the registry has that region."""
        region = str(error.context["entry_region"])
        if not self._cross_region.has(region):
            _SEALED.labels("residency_violation").inc()
            raise error
        try:
            envelope = await self._cross_region.resolve(
                region,
                CrossRegionRequest.of(
                    request,
                    recipient=recipient,
                    entry_region=region,
                    own_region=self._settings.server_region,
                ),
            )
        except BrokerUnreachable:
            await self._audit.record(
                request.identifier,
                Action.GET_SEALED,
                Outcome.BROKER_UNREACHABLE,
                reader=reader,
                broker_region=region,
            )
            raise
        await self._audit.record(
            request.identifier, Action.GET_SEALED, reader=reader, broker_region=region
        )
        _SEALED.labels("ok_via_broker").inc()
        return envelope

    async def _record_cross(
        self, request: CrossRegionRequest, outcome: Outcome, reader: Reader
    ) -> None:
        await self._audit.record(
            request.alias,
            Action.CROSS_REGION,
            outcome,
            reader=reader,
            notes=f"requested by {request.requesting_region or '-'}",
        )


def _reader(
    request: CredentialRead | SealedRead | CrossRegionRequest, *, worker_id: str | None = None
) -> Reader:
    """Return the reader of a secret; a command always reads for its own execution."""
    asking = None if isinstance(request, CrossRegionRequest) else request.principal
    is_command = asking is not None and asking.kind == "capability"
    return Reader(
        worker_id=worker_id,
        execution_id=asking.execution_id if asking and is_command else request.execution_id,
        parent_execution_id=request.parent_execution_id,
        principal=asking.name if asking else None,
    )


def _not_found(identifier: str) -> Refusal:
    return Refusal(404, f"Credential '{identifier}' not found")

"""Reads of secrets: stored credentials first, then the keychain of the playbook."""

from datetime import UTC, datetime
from typing import Protocol

from noetl_common.errors import NoetlError
from noetl_contract.access.principal import Principal
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.secrets.credentials import CredentialBody

from noetl_catalog.providers.errors import ProviderFailed
from noetl_catalog.secrets.audit import Action, Audit, Outcome, Reader
from noetl_catalog.secrets.errors import (
    NamesNothing,
    ResidencyViolation,
    TemplateFailed,
    UseRefused,
)
from noetl_catalog.secrets.keychain.references import ReferenceRefused
from noetl_catalog.secrets.keychain.resolver import Resolved, Stored
from noetl_catalog.secrets.keys.box import Opened, SecretBox, row_of
from noetl_catalog.secrets.rows import Credential
from noetl_catalog.secrets.store import SecretStore
from noetl_catalog.secrets.uses import Uses, hidden


class Resolving(Protocol):
    """Resolution of an alias in the playbook of an execution."""

    async def resolve(self, alias: str, *, execution_id: int) -> Resolved | Stored | None:
        """Return the secret, or the credential it names; None for an unknown alias."""


class SecretReader:
    """Decryption, resolution and audit; all credentials leave through here."""

    def __init__(
        self,
        store: SecretStore,
        *,
        box: SecretBox,
        resolver: Resolving,
        uses: Uses,
        audit: Audit,
    ) -> None:
        self._uses = uses
        self._store = store
        self._box = box
        self._resolver = resolver
        self._audit = audit

    async def read(
        self,
        identifier: str,
        action: Action,
        *,
        reader: Reader,
        principal: Principal | None = None,
    ) -> CredentialBody | None:
        """Return the credential with its data; None when the name is unknown.

        Raises:
            ResidencyViolation: the secret may not be resolved here.
            UseRefused: it may not be used by that execution.
            NoetlError: it can't be decrypted, resolved or recorded.
        """
        try:
            found = await self._found(identifier, reader, principal)
        except NoetlError as error:
            outcome = _outcome(error)
            await self._audit.record(identifier, action, outcome, reader=reader, notes=error.code)
            raise
        if found is None:
            await self._audit.record(identifier, action, Outcome.NOT_FOUND, reader=reader)
            return None
        body, opened = found
        await self._audit.record(
            body.name, action, reader=reader, kek_version=opened.key_version or None
        )
        return body.model_copy(update={"data": opened.value})

    async def _found(
        self, identifier: str, reader: Reader, principal: Principal | None
    ) -> tuple[CredentialBody, Opened] | None:
        stored = await self._store.find_credential(identifier)
        if stored is not None and hidden(principal, stored.body):
            return None
        if stored is not None:
            await self._uses.check(
                stored.body, execution_id=reader.execution_id, principal=principal
            )
            return await self._opened(stored)
        if reader.execution_id is None:
            return None
        resolved = await self._resolver.resolve(identifier, execution_id=reader.execution_id)
        if isinstance(resolved, Stored):
            return await self._named(resolved.name, identifier, reader, principal)
        if resolved is None:
            return None
        return _resolved_body(identifier, resolved.type), resolved.opened

    async def _named(
        self, name: str, alias: str, reader: Reader, principal: Principal | None
    ) -> tuple[CredentialBody, Opened]:
        """Return the stored credential that a keychain entry names."""
        stored = await self._store.find_credential(name)
        if stored is None or hidden(principal, stored.body):
            raise NamesNothing(entry=alias, name=name)
        await self._uses.check(stored.body, execution_id=reader.execution_id, principal=principal)
        return await self._opened(stored)

    async def _opened(self, stored: Credential) -> tuple[CredentialBody, Opened]:
        row = row_of("credential", stored.body.name)
        return stored.body, await self._box.open(stored.data_encrypted, row=row)


def _resolved_body(alias: str, type_: str) -> CredentialBody:
    now = rfc3339(datetime.now(UTC))
    return CredentialBody(
        id="0",
        name=alias,
        type=type_,
        description="resolved from keychain provider",
        created_at=now,
        updated_at=now,
    )


def _outcome(error: NoetlError) -> Outcome:
    match error:
        case ResidencyViolation():
            return Outcome.RESIDENCY_VIOLATION
        case UseRefused() | ReferenceRefused():
            return Outcome.FORBIDDEN
        case TemplateFailed():
            return Outcome.TEMPLATE_ERROR
        case ProviderFailed():
            return Outcome.PROVIDER_ERROR
        case _ if error.code in {"not_an_envelope", "decryption_failed", "wrong_provider"}:
            return Outcome.UNREADABLE
        case _:
            return Outcome.FAILED

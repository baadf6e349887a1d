"""Build the store, keys, keychain and audit of secrets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from noetl_bus.rpc import Handler
from noetl_common.ids import SnowflakeIds
from noetl_pg.database import Database
from noetl_service.service import Service

from noetl_catalog.providers.registry import Providers
from noetl_catalog.providers.settings import ProviderSettings
from noetl_catalog.secrets.audit import Audit
from noetl_catalog.secrets.credentials.cross_region import CrossRegionClient
from noetl_catalog.secrets.credentials.handlers import CredentialHandlers
from noetl_catalog.secrets.credentials.reader import SecretReader
from noetl_catalog.secrets.keychain.cache import KeychainCache
from noetl_catalog.secrets.keychain.entries import KeychainEntries
from noetl_catalog.secrets.keychain.executions import Executions
from noetl_catalog.secrets.keychain.handlers import KeychainHandlers
from noetl_catalog.secrets.keychain.references import read_grants
from noetl_catalog.secrets.keychain.refresh import RefreshTokens
from noetl_catalog.secrets.keychain.renewal import Renewals
from noetl_catalog.secrets.keychain.resolver import KeychainResolver
from noetl_catalog.secrets.keychain.tokens import TokenRequests
from noetl_catalog.secrets.keys.box import SecretBox
from noetl_catalog.secrets.keys.gcp_kms import open_key_manager
from noetl_catalog.secrets.keys.readiness import KeyCheck
from noetl_catalog.secrets.keys.rotation import KeyRotation
from noetl_catalog.secrets.operator_handlers import OperatorHandlers
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore
from noetl_catalog.secrets.uses import Uses

_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16)
_PURGED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Secrets:
    """The opened store, key check, resolver and handlers of secrets."""

    store: SecretStore
    check: KeyCheck
    box: SecretBox
    resolver: KeychainResolver
    handlers: list[Handler]
    settings: SecretSettings

    def join(self, service: Service) -> None:
        """Add the readiness check and the background work."""
        service.ready_when("encryption_key", self.check.run)
        service.spawn("secret refresh", self.resolver.run())

    async def delete_old(self) -> None:
        """Delete expired keychain entries and old audit records.

        Raises:
            NoetlError: the database does not answer.
        """
        settings = self.settings
        await self.store.delete_expired_keychain(
            expired_seconds=settings.keychain_retention_seconds, limit=_PURGED_AT_ONCE
        )
        days = settings.secret_audit_retention_days
        if days:
            await self.store.delete_old_audit(days=days, limit=_PURGED_AT_ONCE)


@asynccontextmanager
async def open_secrets(
    database: Database,
    *,
    entries: KeychainEntries,
    executions: Executions,
    ids: SnowflakeIds,
    settings: SecretSettings,
    needs_login: bool = False,
    providers: ProviderSettings | None = None,
) -> AsyncIterator[Secrets]:
    """Open the parts until the block ends.

    Raises:
        BadKey: a configured key is unusable.
        BadReferences: the grants of references are unusable.
    """
    async with httpx.AsyncClient(limits=_LIMITS, follow_redirects=False, trust_env=False) as client:
        providers = providers or ProviderSettings()
        keys = open_key_manager(settings, client=client, providers=providers)
        secrets = SecretStore(database)
        box = SecretBox(
            keys,
            allows_plain=settings.allow_plain_secrets,
            oldest=settings.envelope_oldest_version,
        )
        audit = Audit(secrets, ids=ids, settings=settings)
        check = KeyCheck(keys, store=secrets, box=box)
        renewals, uses = Renewals(secrets, settings=settings), Uses(executions, entries)
        refresh = RefreshTokens(secrets, box=box, audit=audit, renewals=renewals)
        resolver = KeychainResolver(
            cache=KeychainCache(secrets, box=box, audit=audit, settings=settings),
            renewals=renewals,
            executions=executions,
            entries=entries,
            providers=Providers(client, providers, region=settings.server_region),
            references=read_grants(settings.keychain_references, is_needed=needs_login),
            tokens=TokenRequests(secrets, box=box, uses=uses),
            refresh_tokens=refresh,
            settings=settings,
        )
        handlers = [
            *CredentialHandlers(
                secrets,
                box=box,
                reader=SecretReader(secrets, box=box, resolver=resolver, uses=uses, audit=audit),
                audit=audit,
                cross_region=CrossRegionClient(client, settings),
                ids=ids,
                settings=settings,
            ).handlers(),
            *KeychainHandlers(
                secrets, box=box, uses=uses, audit=audit, settings=settings
            ).handlers(),
            *OperatorHandlers(
                secrets, rotation=KeyRotation(secrets, box=box), check=check, settings=settings
            ).handlers(),
        ]
        async with refresh:
            yield Secrets(secrets, check, box, resolver, handlers, settings)

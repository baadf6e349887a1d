"""Everything about secrets that the service is made of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
from noetl_common.bus.rpc import RpcClient, RpcHandler
from noetl_common.ids import SnowflakeIds
from noetl_common.service import Service

from noetl_catalog.broker import Brokers
from noetl_catalog.credential_handlers import CredentialHandlers
from noetl_catalog.gcp_kms import open_key_manager
from noetl_catalog.key_manager import KeyManager, KeyMissing, NoKeyManager
from noetl_catalog.key_rotation import KeyRotation
from noetl_catalog.keychain_entries import KeychainEntries
from noetl_catalog.keychain_handlers import KeychainHandlers
from noetl_catalog.keychain_resolver import KeychainResolver
from noetl_catalog.origin import Origins
from noetl_catalog.providers.provider_settings import ProviderSettings
from noetl_catalog.providers.registry import Providers
from noetl_catalog.secret_audit import Audit
from noetl_catalog.secret_box import SecretBox
from noetl_catalog.secret_reader import SecretReader
from noetl_catalog.secret_store import SecretStore
from noetl_catalog.settings import Settings
from noetl_catalog.store import Store
from noetl_catalog.wallet_handlers import WalletHandlers

__all__ = ["KeyCheck", "Secrets", "open_secrets"]

type Pool = asyncpg.Pool[asyncpg.Record]

_CONNECTIONS = 64
_PURGED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Secrets:
    """The open parts."""

    store: SecretStore
    keys: KeyManager
    box: SecretBox
    resolver: KeychainResolver
    routes: dict[str, RpcHandler]
    settings: Settings

    def join(self, service: Service) -> None:
        """Add the readiness check and the background work."""
        check = KeyCheck(self.keys, store=self.store, box=self.box)
        service.ready_when("encryption_key", check.run)
        service.spawn("secret refresh", self.resolver.run())

    async def forget_old(self) -> None:
        """Delete entries and records whose time is over; errors are the caller's.

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


class KeyCheck:
    """Whether there is a key and it opens what was stored last (operations 2.8).

    A key doesn't change while a process lives, so one success is enough.
    """

    def __init__(self, keys: KeyManager, *, store: SecretStore, box: SecretBox) -> None:
        self._keys = keys
        self._store = store
        self._box = box
        self._is_proven = not keys.is_durable

    async def run(self) -> None:
        """Readiness check.

        Raises:
            NoetlError: the key is missing, or another one.
        """
        if isinstance(self._keys, NoKeyManager):
            raise KeyMissing
        if self._is_proven:
            return
        newest = await self._store.probe_credential()
        if newest is not None:
            await self._box.open(newest)
            self._is_proven = True


@asynccontextmanager
async def open_secrets(
    pool: Pool,
    *,
    store: Store,
    rpc: RpcClient,
    ids: SnowflakeIds,
    settings: Settings,
    providers: ProviderSettings | None = None,
) -> AsyncIterator[Secrets]:
    """Open the parts until the block ends.

    Raises:
        BadKey: a configured key is unusable.
    """
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=16)
    async with httpx.AsyncClient(limits=limits, follow_redirects=False, trust_env=False) as client:
        provider_settings = providers or ProviderSettings()
        keys = open_key_manager(settings, client=client, providers=provider_settings)
        secrets = SecretStore(pool)
        box = SecretBox(keys, allows_plain=settings.allow_plain_secrets)
        audit = Audit(secrets, ids=ids, settings=settings)
        resolver = KeychainResolver(
            secrets,
            box=box,
            origins=Origins(rpc, shard_count=settings.shard_count),
            entries=KeychainEntries(store, settings=settings),
            providers=Providers(client, provider_settings, region=settings.server_region),
            audit=audit,
            settings=settings,
        )
        credentials = CredentialHandlers(
            secrets,
            box=box,
            reader=SecretReader(secrets, box=box, resolver=resolver, audit=audit),
            audit=audit,
            brokers=Brokers(
                client,
                registry=settings.brokers(),
                token=settings.internal_api_token,
                timeout_seconds=settings.secret_broker_timeout_secs,
            ),
            ids=ids,
            settings=settings,
        )
        keychain = KeychainHandlers(secrets, box=box, audit=audit, settings=settings)
        rotation = KeyRotation(secrets, box=box)
        wallet = WalletHandlers(secrets, rotation=rotation, settings=settings)
        routes = credentials.routes() | keychain.routes() | wallet.routes()
        yield Secrets(secrets, keys, box, resolver, routes, settings)

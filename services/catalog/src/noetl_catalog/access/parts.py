"""Build the store of keys and grants, and the consumer of the audit."""

from dataclasses import dataclass

from noetl_bus.broker import Bus
from noetl_bus.rpc import Handler
from noetl_common.ids import SnowflakeIds
from noetl_pg.database import Database
from noetl_service.service import Service

from noetl_catalog.access.audit import AuditTrail
from noetl_catalog.access.handlers import AccessHandlers
from noetl_catalog.access.keys import configured_keys
from noetl_catalog.access.settings import AccessSettings
from noetl_catalog.access.store import AccessStore
from noetl_catalog.access.usage import KeyUses

_PURGED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """The opened store, handlers and background work of keys, grants and the audit."""

    store: AccessStore
    bus: Bus
    uses: KeyUses
    handlers: list[Handler]
    settings: AccessSettings

    def join(self, service: Service) -> None:
        """Add the background work."""
        trail = AuditTrail(self.store, on_progress=service.beater("access audit"))
        service.spawn("access audit", trail.run(self.bus))
        service.spawn("key uses", self.uses.run(self.settings.access_key_use_seconds))

    async def delete_old(self) -> None:
        """Delete old records of the audit.

        Raises:
            NoetlError: the database does not answer.
        """
        days = self.settings.access_audit_retention_days
        if days:
            await self.store.delete_old_records(days=days, limit=_PURGED_AT_ONCE)


async def open_access(
    database: Database, bus: Bus, *, ids: SnowflakeIds, settings: AccessSettings
) -> Access:
    """Keep the keys that settings name, and build the parts.

    Raises:
        BadAccessKey: the setting is unusable, which ends the start.
    """
    store = AccessStore(database)
    for role, key in configured_keys(settings.access_keys.get_secret_value()):
        await store.ensure_key(key, role)
    uses = KeyUses(store)
    handlers = AccessHandlers(store, bus=bus, ids=ids, uses=uses, settings=settings).handlers()
    return Access(store, bus, uses, handlers, settings)

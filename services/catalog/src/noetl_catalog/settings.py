"""Settings of the catalog service."""

from noetl_bus.settings import NatsSettings
from noetl_pg.settings import ClusterDatabaseSettings
from noetl_service.settings import ServiceSettings
from pydantic import Field

from noetl_catalog.access.keys import AccessSettings
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.libraries import ResolveSettings
from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.schedules.settings import ScheduleSettings
from noetl_catalog.secrets.settings import SecretSettings


class Settings(
    NatsSettings,
    ClusterDatabaseSettings,
    EntrySettings,
    RuntimeSettings,
    SecretSettings,
    AccessSettings,
    ScheduleSettings,
    ResolveSettings,
    ServiceSettings,
):
    """Settings of the catalog service."""

    @property
    def needs_login(self) -> bool:
        """Whether callers have to authenticate; `auto` depends on the address of this port.

        The port is bound like the gateway's: in containers to all addresses, otherwise to loopback.
        """
        is_local = self.http_host in {"localhost", "127.0.0.1", "::1"}
        return self.auth == "on" or (self.auth == "auto" and not is_local)

    rpc_concurrency: int = Field(default=64, gt=0)
    """Maximum number of requests in progress."""

"""Settings of the catalog service."""

from noetl_common.settings import ClusterDatabaseSettings, NatsSettings, ServiceSettings
from pydantic import Field

from noetl_catalog.access.settings import AccessSettings
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.secrets.settings import SecretSettings


class Settings(
    NatsSettings,
    ClusterDatabaseSettings,
    EntrySettings,
    RuntimeSettings,
    SecretSettings,
    AccessSettings,
    ServiceSettings,
):
    """Everything the catalog service reads from its environment."""

    rpc_concurrency: int = Field(default=64, gt=0, description="Requests worked on at once.")

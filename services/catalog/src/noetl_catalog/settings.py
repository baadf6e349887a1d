"""Settings of the catalog service."""

from noetl_common.settings import (
    ClusterDatabaseSettings,
    NatsSettings,
    PlaybookSettings,
    ServiceSettings,
)
from pydantic import Field

from noetl_catalog.secret_settings import SecretSettings

__all__ = ["Settings"]


class Settings(
    NatsSettings, ClusterDatabaseSettings, PlaybookSettings, SecretSettings, ServiceSettings
):
    """Everything the catalog service reads from its environment."""

    catalog_content_max_bytes: int = Field(
        default=2 << 20, gt=0, description="Largest document that is registered."
    )
    catalog_list_limit: int = Field(
        default=5000, gt=0, description="Entries in one answer of the catalog list, newest first."
    )
    catalog_content_cache_entries: int = Field(
        default=256, ge=0, description="Documents kept in memory; a version never changes."
    )
    catalog_parse_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Patience with reading one document."
    )
    runtime_list_limit: int = Field(
        default=10_000, gt=0, description="Runtimes in one answer of the pools list."
    )
    runtime_offline_seconds: float = Field(
        default=60.0, gt=0, description="A worker silent for longer is not counted any more."
    )
    runtime_retention_seconds: float = Field(
        default=86_400.0, gt=0, description="A runtime silent for longer is forgotten."
    )
    runtime_cleanup_interval_seconds: float = Field(
        default=600.0, gt=0, description="How often silent runtimes are looked for."
    )
    machine_lease_seconds: float = Field(
        default=30.0, gt=0, description="How long a machine id is leased without renewal."
    )
    machine_clock_allowance_seconds: float = Field(
        default=5.0, ge=0, description="How far the clock of a holder may be off the database's."
    )
    rpc_concurrency: int = Field(default=64, gt=0, description="Requests worked on at once.")

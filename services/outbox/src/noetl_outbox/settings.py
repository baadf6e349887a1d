"""Settings of the outbox relay."""

from noetl_bus.settings import EventRelaySettings, NatsSettings
from noetl_pg.settings import ShardDatabaseSettings
from noetl_service.settings import ServiceSettings
from pydantic import Field


class Settings(NatsSettings, ShardDatabaseSettings, EventRelaySettings, ServiceSettings):
    """Settings of the relay."""

    outbox_grace_seconds: float = Field(default=1.5, gt=0)
    """Age from which the sweep publishes a row; until then its orchestrator does."""
    outbox_poll_seconds: float = Field(default=1.0, gt=0)
    """Interval of the sweep while rows or acknowledgements arrive."""
    outbox_idle_poll_seconds: float = Field(default=5.0, gt=0)
    """Longest interval of the sweep while neither rows nor acknowledgements arrive. Rows of an
    orchestrator that died before it published them wait at most this long."""
    outbox_lease_seconds: float = Field(default=30.0, gt=0, lt=120)
    """Lease of a row in flight; it has to be shorter than the stream's deduplication window."""
    outbox_outside_lease_seconds: float = Field(default=60.0, gt=0, lt=120)
    """Lease of a row that an external publisher has claimed."""
    outbox_batch: int = Field(default=200, gt=0, le=1000)
    """Maximum number of rows that the sweep claims at once."""
    outbox_publish_timeout_seconds: float = Field(default=5.0, gt=0, lt=30)
    """Timeout for the acknowledgements of one batch."""
    outbox_mark_interval_seconds: float = Field(default=0.02, ge=0, lt=1)
    """Time for which acknowledgements are collected before one statement records them."""
    outbox_outside_max_bytes: int = Field(default=16 << 20, gt=0)
    """Maximum size of one claim by an external publisher; the last page of 50 rows may exceed
    it."""
    outbox_failure_max_seconds: float = Field(default=300.0, gt=0)
    """Longest pause before a failed row is published again."""
    outbox_retention_seconds: float = Field(default=120.0, gt=0)
    """Retention of published events and commands."""
    outbox_message_retention_seconds: float = Field(default=3600.0, gt=0)
    """Retention of published messages to executions."""
    outbox_purge_interval_seconds: float = Field(default=10.0, gt=0)
    """Interval of the purge of published rows; up to six times longer while there are none."""
    outbox_purge_batch: int = Field(default=2000, gt=0)
    """Number of published rows that one statement of the purge examines."""
    outbox_recovery_interval_seconds: float = Field(default=5.0, gt=0)
    """Interval at which streams are compared with the published rows."""
    outbox_expiry_interval_seconds: float = Field(default=60.0, gt=0)
    """Interval at which the relay searches for notifications that expired in their stream."""
    outbox_event_republish_seconds: float = Field(default=60.0, ge=0)
    """Age up to which events are published again after their stream was lost."""

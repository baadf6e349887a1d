"""Settings of the outbox relay."""

from noetl_bus.settings import EventRelaySettings, NatsSettings
from noetl_pg.settings import ShardDatabaseSettings
from noetl_service.settings import ServiceSettings
from pydantic import Field


class Settings(NatsSettings, ShardDatabaseSettings, EventRelaySettings, ServiceSettings):
    """Everything the relay reads from its environment."""

    outbox_grace_seconds: float = Field(default=1.5, gt=0)
    """Age from which the sweep takes a row, which its orchestrator publishes."""
    outbox_poll_seconds: float = Field(default=1.0, gt=0)
    """How often the sweep looks for rows while some come."""
    outbox_idle_poll_seconds: float = Field(default=5.0, gt=0)
    """Longest pause between two looks while neither rows nor acknowledgements come; rows of a
    process that ended before it has published them wait so long at most."""
    outbox_lease_seconds: float = Field(default=30.0, gt=0, lt=120)
    """A row in flight for longer is taken back; below the dedupe window."""
    outbox_outside_lease_seconds: float = Field(default=60.0, gt=0, lt=120)
    """A row that an outside publisher claimed comes back after this."""
    outbox_batch: int = Field(default=200, gt=0, le=1000)
    """Rows the sweep takes at once."""
    outbox_publish_timeout_seconds: float = Field(default=5.0, gt=0, lt=30)
    """Timeout of one batch of acknowledgements."""
    outbox_mark_interval_seconds: float = Field(default=0.02, ge=0, lt=1)
    """Acknowledgements gathered into one statement."""
    outbox_outside_max_bytes: int = Field(default=16 << 20, gt=0)
    """Bytes that others borrow at once; the last page of 50 rows may go beyond."""
    outbox_failure_max_seconds: float = Field(default=300.0, gt=0)
    """Longest pause before a failed row is tried again."""
    outbox_retention_seconds: float = Field(default=120.0, gt=0)
    """Published events and commands are kept for so long."""
    outbox_message_retention_seconds: float = Field(default=3600.0, gt=0)
    """Published messages to executions are kept for so long."""
    outbox_purge_interval_seconds: float = Field(default=10.0, gt=0)
    """How often published rows are removed; up to six times as rarely while there are none."""
    outbox_purge_batch: int = Field(default=2000, gt=0)
    """Published rows removed by one statement."""
    outbox_recovery_interval_seconds: float = Field(default=5.0, gt=0)
    """How often streams are compared with what was published."""
    outbox_expiry_interval_seconds: float = Field(default=60.0, gt=0)
    """How often expired notifications are looked for."""
    outbox_event_republish_seconds: float = Field(default=60.0, ge=0)
    """Events this young are sent again to a lost stream."""

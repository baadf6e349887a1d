"""Settings of schedules."""

from noetl_bus.writes.settings import WriteSettings
from pydantic import Field


class ScheduleSettings(WriteSettings):
    """Firing of schedules, and the retention of firings."""

    schedules_enabled: bool = True
    """Fire schedules. If false, another replica or deployment has to fire them."""
    schedule_look_seconds: float = Field(default=60.0, gt=0)
    """Longest pause between two searches for due schedules."""
    schedule_lease_seconds: float = Field(default=5.0, ge=1)
    """Time after which the lease of a due schedule expires if its replica doesn't renew it."""
    schedule_batch: int = Field(default=200, gt=0, le=2000)
    """Maximum number of due schedules that a replica leases together."""
    schedule_starts_at_once: int = Field(default=32, gt=0, le=500)
    """Maximum number of starts that wait for their answers."""
    schedule_start_seconds: float = Field(default=10.0, gt=0)
    """Timeout of the answer to a start, after which the start is sent again."""
    schedule_queue_limit: int = Field(default=100, gt=0, le=150)
    """Maximum number of queued firings of one schedule."""
    schedule_history_days: int = Field(default=400, ge=0)
    """Retention of firings in days; 0 for ever."""

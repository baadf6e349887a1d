"""Settings of schedules."""

from noetl_bus.writes.settings import WriteSettings
from pydantic import Field


class ScheduleSettings(WriteSettings):
    """Firing of schedules, and the retention of their firings."""

    schedules_enabled: bool = True
    """Fire schedules; another replica or deployment does it if not."""
    schedule_look_seconds: float = Field(default=60.0, gt=0)
    """Longest sleep before the next look for a schedule that is due."""
    schedule_lease_seconds: float = Field(default=5.0, ge=1)
    """Time for which a replica has a due schedule without renewing its lease; then another takes
    it."""
    schedule_batch: int = Field(default=200, gt=0, le=2000)
    """Due schedules that a replica takes at once."""
    schedule_starts_at_once: int = Field(default=32, gt=0, le=500)
    """Starts of firings that wait for their answer at once."""
    schedule_start_seconds: float = Field(default=10.0, gt=0)
    """Wait for the answer to a start; then it is sent again."""
    schedule_queue_limit: int = Field(default=100, gt=0, le=150)
    """Firings of one schedule that may be queued."""
    schedule_history_days: int = Field(default=400, ge=0)
    """Days for which firings are kept; 0 keeps them for ever."""

"""Settings of runtimes and machine ids."""

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field


class RuntimeSettings(SettingsPiece):
    """Limits of lists, retention of runtimes, and leases of machine ids."""

    runtime_list_limit: int = Field(default=10_000, gt=0)
    """Maximum number of runtimes in one answer."""
    runtime_retention_seconds: float = Field(default=86_400.0, gt=0)
    """Time without a heartbeat after which a runtime is deleted."""
    runtime_takeover_seconds: float = Field(default=120.0, gt=0)
    """Time without a heartbeat after which another caller may register the name of a runtime."""
    runtime_cleanup_interval_seconds: float = Field(default=600.0, gt=0)
    """Interval at which old runtimes are deleted."""
    machine_lease_seconds: float = Field(default=30.0, gt=0)
    """Time for which a machine id is leased without a renewal."""
    machine_clock_allowance_seconds: float = Field(default=5.0, ge=0)
    """Largest difference between the clock of a holder and the clock of the database."""

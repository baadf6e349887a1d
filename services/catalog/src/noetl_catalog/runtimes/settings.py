"""Settings of runtimes and machine ids."""

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field


class RuntimeSettings(SettingsPiece):
    """Limits of lists, and timeouts of silent runtimes."""

    runtime_list_limit: int = Field(default=10_000, gt=0)
    """Runtimes in one answer of the pools list."""
    runtime_retention_seconds: float = Field(default=86_400.0, gt=0)
    """A runtime silent for longer is deleted."""
    runtime_takeover_seconds: float = Field(default=120.0, gt=0)
    """Silence after which another caller may register a runtime's name."""
    runtime_cleanup_interval_seconds: float = Field(default=600.0, gt=0)
    """Interval of the search for silent runtimes."""
    machine_lease_seconds: float = Field(default=30.0, gt=0)
    """How long a machine id is leased without renewal."""
    machine_clock_allowance_seconds: float = Field(default=5.0, ge=0)
    """How far the clock of a holder may be off the database's."""

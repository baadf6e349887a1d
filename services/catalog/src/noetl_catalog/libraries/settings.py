"""Settings of resolving libraries."""

import sys
from typing import Literal

from noetl_common.libraries import LibrarySettings
from noetl_contract.libraries.requirements import package_of
from pydantic import Field


class ResolveSettings(LibrarySettings):
    """Limits of registering playbooks whose steps need libraries."""

    libraries: bool = True
    """Whether playbooks whose steps ask for libraries are registered."""
    libraries_allowed: str = ""
    """Names of the packages, by commas, that a lock may have, those that others need included;
    empty: all."""
    libraries_unresolved: Literal["refuse", "keep"] = "refuse"
    """Handling of a playbook whose libraries can't be asked for now: it is refused, or registered
    with the reason, and its steps fail."""
    libraries_python: str = Field(
        default=f"{sys.version_info.major}.{sys.version_info.minor}", pattern=r"^3\.[0-9]{1,2}$"
    )
    """Version of the workers' Python, for which libraries are resolved."""
    libraries_resolve_seconds: float = Field(default=8.0, gt=0)
    """Longest time for the libraries of one registration; the edge waits for
    NOETL_REQUEST_PATIENCE_SECONDS."""
    libraries_resolve_at_once: int = Field(default=2, ge=1)
    """Runs of uv at a time; more registrations wait."""
    libraries_lock_max_bytes: int = Field(default=256 << 10, gt=0)
    """Largest lock of one step."""
    libraries_sets_max: int = Field(default=20, gt=0)
    """Different lists of libraries in one playbook."""

    def allowed_packages(self) -> frozenset[str]:
        """Return the names of the packages that a lock may have; none: all."""
        names = self.libraries_allowed.split(",")
        return frozenset(package_of(name.strip()) for name in names if name.strip())

"""Residency: the regions in which a keychain entry may be resolved."""

from noetl_common import metrics

from noetl_catalog.secrets.errors import ResidencyViolation
from noetl_catalog.secrets.keychain.definition import Definition

_CHECKS = metrics.counter(
    "noetl_secret_residency_check_total", "Residency checks", ["policy", "decision"]
)


def decide_residency(entry: Definition, *, server_region: str) -> str:
    """Return the decision, as the metric's label."""
    region = entry.region or server_region
    if not region or entry.policy == "none":
        return "allowed_no_policy"
    if region == server_region:
        return "allowed_same_region"
    if server_region and server_region in entry.allowed_regions:
        return "allowed_in_allowlist"
    return "violation_allowed" if entry.policy == "advisory" else "violation_blocked"


def check_residency(entry: Definition, *, alias: str, server_region: str) -> None:
    """Count the decision, and raise when it blocks.

    Raises:
        ResidencyViolation: the entry may not be resolved here.
    """
    decision = decide_residency(entry, server_region=server_region)
    _CHECKS.labels(entry.policy, decision).inc()
    if decision == "violation_blocked":
        raise ResidencyViolation(
            credential=alias,
            entry_region=entry.region or server_region,
            server_region=server_region,
        )

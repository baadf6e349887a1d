"""Residency: the regions in which a keychain entry may be resolved."""

from noetl_common import metrics
from noetl_contract.json import JsonObject

from noetl_catalog.secrets.errors import ResidencyViolation

_POLICIES = frozenset({"none", "advisory", "strict"})
_CHECKS = metrics.counter(
    "noetl_secret_residency_check_total", "Residency checks", ["policy", "decision"]
)


def entry_region(entry: JsonObject, *, server_region: str) -> str:
    """Return the region that an entry belongs to."""
    region = entry.get("region")
    return region if isinstance(region, str) and region else server_region


def decide_residency(entry: JsonObject, *, server_region: str) -> tuple[str, str]:
    """Return policy and decision, in the words of the metric."""
    policy = entry.get("residency")
    policy = policy if policy in _POLICIES else "none"
    region = entry_region(entry, server_region=server_region)
    if not region or policy == "none":
        return policy, "allowed_no_policy"
    if region == server_region:
        return policy, "allowed_same_region"
    allowed = entry.get("allowed_regions")
    if server_region and isinstance(allowed, list) and server_region in allowed:
        return policy, "allowed_in_allowlist"
    return policy, "violation_allowed" if policy == "advisory" else "violation_blocked"


def check_residency(entry: JsonObject, *, alias: str, server_region: str) -> None:
    """Count the decision, and raise when it blocks.

    Raises:
        ResidencyViolation: the entry may not be resolved here.
    """
    policy, decision = decide_residency(entry, server_region=server_region)
    _CHECKS.labels(policy, decision).inc()
    if decision == "violation_blocked":
        raise ResidencyViolation(
            credential=alias,
            entry_region=entry_region(entry, server_region=server_region),
            server_region=server_region,
        )

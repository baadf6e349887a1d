"""Metrics of resolving libraries."""

from noetl_common.metrics import counter, histogram

RESOLVED = counter(
    "noetl_catalog_libraries_resolved_total",
    "Lists of libraries by what resolving came to.",
    ("outcome",),
    zeros=("resolved", "refused", "unreachable"),
)
RESOLVE_SECONDS = histogram(
    "noetl_catalog_libraries_resolve_seconds",
    "Time of resolving one list of libraries, the wait for others included.",
)

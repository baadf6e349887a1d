"""Prometheus metrics that may be asked for twice.

The client library refuses to register a name again. Parts of a process (two pull loops, two
apps in one test run) share their families instead, so these functions get or create.
"""

from collections.abc import Sequence
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["CONTENT_TYPE", "DURATION_BUCKETS", "counter", "gauge", "histogram", "render"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bucket set B1 of the contract's durations."""


def counter(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    registry: CollectorRegistry = REGISTRY,
) -> Counter:
    """Get or create a counter; ``name`` as the contract writes it, with ``_total``."""
    found = _registered(name, registry)
    if found is not None:
        return cast("Counter", found)
    return Counter(name, documentation, labels, registry=registry)


def gauge(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    registry: CollectorRegistry = REGISTRY,
) -> Gauge:
    """Get or create a gauge."""
    found = _registered(name, registry)
    if found is not None:
        return cast("Gauge", found)
    return Gauge(name, documentation, labels, registry=registry)


def histogram(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float] = DURATION_BUCKETS,
    registry: CollectorRegistry = REGISTRY,
) -> Histogram:
    """Get or create a histogram."""
    found = _registered(name, registry)
    if found is not None:
        return cast("Histogram", found)
    return Histogram(name, documentation, labels, buckets=buckets, registry=registry)


def render(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return all metrics in the text format."""
    return generate_latest(registry)


def _registered(name: str, registry: CollectorRegistry) -> object | None:
    # The library has no public look-up; this mapping has been there for ten years.
    return registry._names_to_collectors.get(name)  # noqa: SLF001

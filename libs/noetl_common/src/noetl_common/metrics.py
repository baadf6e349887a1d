"""Prometheus metrics that several parts of a process share.

The client library refuses to register a name twice. Two pull loops of a process, or two apps of a
test run, use the same metric, so these functions return a metric that exists or create it.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bucket set B1 of the contract's durations."""

# The creation times of series would double the page, and no reader of the text format uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]


def counter(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    zeros: Iterable[str | Sequence[str]] = (),
) -> Counter:
    """Get or create a counter.

    Args:
        name: name with the suffix ``_total``.
        documentation: one sentence.
        labels: names of the labels.
        zeros: label values of series that start at 0. A rate misses the first event of a series
            that only begins with this event.
    """
    made = _registered(Counter, name) or Counter(name, documentation, labels)
    for values in zeros:
        made.labels(*((values,) if isinstance(values, str) else values))
    return made


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """Get or create a gauge."""
    return _registered(Gauge, name) or Gauge(name, documentation, labels)


def histogram(
    name: str,
    documentation: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float] = DURATION_BUCKETS,
) -> Histogram:
    """Get or create a histogram."""
    return _registered(Histogram, name) or Histogram(name, documentation, labels, buckets=buckets)


def render() -> bytes:
    """Return all metrics in the text format."""
    return generate_latest()


def _registered[M](kind: type[M], name: str) -> M | None:
    # The library has no public look-up. The mapping has been in the library for ten years.
    found = REGISTRY._names_to_collectors.get(name)  # noqa: SLF001
    return found if isinstance(found, kind) else None

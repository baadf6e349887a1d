"""Prometheus metrics that may be created twice.

The client library refuses to register a name again. Parts of a process (two pull loops, two
apps in one test run) share their families instead, so these functions get or create.
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

# When each series began is of no use to readers of the text format, and half of the page.
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
        name: as the contract writes it, with ``_total``.
        documentation: one sentence.
        labels: their names.
        zeros: the values of the labels that are there from the start, at 0: a rate misses the
            first event of a series that begins with it.
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
    # The library has no public look-up; this mapping has been there for ten years.
    found = REGISTRY._names_to_collectors.get(name)  # noqa: SLF001
    return found if isinstance(found, kind) else None

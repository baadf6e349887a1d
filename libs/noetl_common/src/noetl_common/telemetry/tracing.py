"""The recorder of spans of this process.

`tracing` returns None while tracing is off, and then the SDK isn't even imported. The parent of a
span is a W3C context, because parents arrive in headers, in rows and in fields of messages.
"""

from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import time_ns

from noetl_common.errors import NoetlError
from noetl_common.telemetry.carrier import Context, carried, carry, reset_trace_context
from noetl_common.telemetry.settings import TracingFields
from noetl_common.telemetry.span import Attributes, Kind, Span, Tracing


class TracingUnavailable(NoetlError):
    """Tracing is configured, but its packages are not installed."""

    template = "{variable}: {problem}"


class _Process:
    """The recorder of this process."""

    tracing: Tracing | None = None


def tracing() -> Tracing | None:
    """Return the recorder of spans, or None while tracing is off."""
    return _Process.tracing


def record(
    recorder: Tracing,
    name: str,
    parent: Context,
    *,
    from_ns: int,
    to_ns: int | None = None,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    links: Iterable[Context] = (),
) -> None:
    """Record a span of the past."""
    span = recorder.begin(
        name, parent, kind=kind, at_ns=from_ns, links=links, attributes=attributes
    )
    span.end(at_ns=max(from_ns, time_ns() if to_ns is None else to_ns))


@contextmanager
def inside(
    name: str, *, kind: Kind = "internal", attributes: Attributes | None = None
) -> Iterator[Span | None]:
    """Record a span around a block, as a child of the open span; without one, record nothing.

    If the block raises, the span is marked as failed. If the block is cancelled, the span has an
    attribute that says so.
    """
    recorder, outer = _Process.tracing, carried()
    if recorder is None or outer is None or recorder.ignores(outer.context):
        yield None
        return
    span = recorder.begin(name, outer.context, kind=kind, attributes=attributes)
    token = carry(span.context, is_continued=outer.is_continued)
    try:
        yield span
    except CancelledError:
        # A cancelled block has not failed: its result is no longer needed.
        span.add_attributes({"noetl.cancelled": True})
        span.end()
        raise
    except BaseException as error:
        span.end(error=type(error).__name__)
        raise
    else:
        span.end()
    finally:
        reset_trace_context(token)


@contextmanager
def traced_process(settings: TracingFields, service: str, *, revision: str = "") -> Iterator[None]:
    """Record spans until the block ends, if the settings turn tracing on.

    Raises:
        TracingUnavailable: the packages are not installed.
    """
    start_tracing(settings, service, revision=revision)
    try:
        yield
    finally:
        stop_tracing()


def start_tracing(settings: TracingFields, service: str, *, revision: str = "") -> None:
    """Record spans from now on, if the settings turn tracing on.

    Raises:
        TracingUnavailable: the packages are not installed.
    """
    if not settings.has_tracing():
        return
    try:
        # Imported only now, because the import takes a quarter of a second.
        from noetl_common.telemetry.otlp import OtlpTracing  # noqa: PLC0415
    except ImportError as error:
        raise TracingUnavailable(
            variable="OTEL_EXPORTER_OTLP_ENDPOINT",
            problem=f"the packages of noetl-common[otel] are not installed ({error})",
        ) from error
    _Process.tracing = OtlpTracing(settings, service, revision=revision)


def stop_tracing() -> None:
    """Send the remaining spans, and stop recording."""
    recorder, _Process.tracing = _Process.tracing, None
    if recorder is not None:
        recorder.close()

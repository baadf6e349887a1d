"""Spans of this process; one variable turns them on.

Code that could record a span asks for `tracing` first, which is None while nothing is recorded:
then neither the SDK is imported nor anything sent. Parents are W3C contexts, because they arrive
in headers, in rows and in the fields of messages.
"""

from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import time_ns

from noetl_common.errors import NoetlError
from noetl_common.telemetry.carrier import Context, carried, carry, carry_no_more
from noetl_common.telemetry.settings import TracingFields
from noetl_common.telemetry.span import Attributes, Kind, Span, Tracing


class TracingUnavailable(NoetlError):
    """Tracing is configured, but can't be started."""

    template = "{variable}: {problem}"


class _Process:
    """The recorder of this process."""

    tracing: Tracing | None = None


def tracing() -> Tracing | None:
    """Return the recorder of spans; None while tracing is off."""
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
    """Record a span that has already ended."""
    span = recorder.begin(
        name, parent, kind=kind, at_ns=from_ns, links=links, attributes=attributes
    )
    span.end(at_ns=max(from_ns, time_ns() if to_ns is None else to_ns))


@contextmanager
def inside(
    name: str, *, kind: Kind = "internal", attributes: Attributes | None = None
) -> Iterator[Span | None]:
    """Record a span around a block, below the open one; nothing where none is open.

    A block that raises has failed; a cancelled block has not, and its span notes the cancellation.
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
        # The result is no longer needed, such as a start's report when its tool has ended.
        span.note({"noetl.cancelled": True})
        span.end()
        raise
    except BaseException as error:
        span.end(error=type(error).__name__)
        raise
    else:
        span.end()
    finally:
        carry_no_more(token)


@contextmanager
def traced_process(settings: TracingFields, service: str, *, revision: str = "") -> Iterator[None]:
    """Trace until the block ends, if the settings ask for it.

    Raises:
        TracingUnavailable: the packages are not installed.
    """
    start_tracing(settings, service, revision=revision)
    try:
        yield
    finally:
        stop_tracing()


def start_tracing(settings: TracingFields, service: str, *, revision: str = "") -> None:
    """Record spans from now on, if the settings ask for it.

    Raises:
        TracingUnavailable: the packages are not installed.
    """
    if not settings.has_tracing():
        return
    try:
        # Loaded here: it takes a quarter of a second, which most processes can spare.
        from noetl_common.telemetry.otlp import OtlpTracing  # noqa: PLC0415
    except ImportError as error:
        raise TracingUnavailable(
            variable="OTEL_EXPORTER_OTLP_ENDPOINT",
            problem=f"the packages of noetl-common[otel] are not installed ({error})",
        ) from error
    _Process.tracing = OtlpTracing(settings, service, revision=revision)


def stop_tracing() -> None:
    """Send the remaining spans, and record no more."""
    recorder, _Process.tracing = _Process.tracing, None
    if recorder is not None:
        recorder.close()

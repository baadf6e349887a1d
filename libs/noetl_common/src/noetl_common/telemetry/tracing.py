"""Spans, where an operator has asked for them: one variable turns them on.

Code that could record a span asks for `tracing` first, which is None while nothing is recorded:
then neither the SDK is imported nor anything sent. Parents are W3C contexts, because they arrive
in headers, in rows and in the fields of messages.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import time_ns
from typing import Literal, Protocol

from noetl_common.errors import NoetlError
from noetl_common.settings import ServiceSettings
from noetl_common.telemetry.carrier import Context, carried, carry, carry_no_more

type Kind = Literal["internal", "server", "client", "producer", "consumer"]
type Attributes = Mapping[str, str | int | float | bool]


class TracingUnavailable(NoetlError):
    """Tracing was asked for and can't be had."""

    template = "{variable}: {problem}"


class Span(Protocol):
    """A span that is open."""

    @property
    def context(self) -> Context:
        """Its context, for its children."""

    def rename(self, name: str) -> None:
        """Give it a name that is known only now."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def end(self, *, at_ns: int | None = None, error: str | None = None) -> None:
        """End it, now or at a time; one that is never ended is never sent."""


class Tracing(Protocol):
    """Records spans."""

    def begin(
        self,
        name: str,
        parent: Context | None,
        *,
        kind: Kind = "internal",
        at_ns: int | None = None,
        links: Iterable[Context] = (),
        attributes: Attributes | None = None,
    ) -> Span:
        """Begin a span; without a parent it is the first of a trace."""

    def close(self) -> None:
        """Send what is left."""


class _Process:
    """What this process records with."""

    tracing: Tracing | None = None


def tracing() -> Tracing | None:
    """Return what records spans; None while tracing is off."""
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
    """Record a span whose end has come already."""
    span = recorder.begin(
        name, parent, kind=kind, at_ns=from_ns, links=links, attributes=attributes
    )
    span.end(at_ns=max(from_ns, time_ns() if to_ns is None else to_ns))


@contextmanager
def inside(
    name: str, *, kind: Kind = "internal", attributes: Attributes | None = None
) -> Iterator[Span | None]:
    """Record a span around a block, below the one that is open; nothing where there is none."""
    recorder, outer = _Process.tracing, carried()
    if recorder is None or outer is None:
        yield None
        return
    span = recorder.begin(name, outer.context, kind=kind, attributes=attributes)
    token = carry(span.context)
    try:
        yield span
    except BaseException as error:
        span.end(error=type(error).__name__)
        raise
    else:
        span.end()
    finally:
        carry_no_more(token)


@contextmanager
def traced_process(settings: ServiceSettings, service: str) -> Iterator[None]:
    """Trace until the block ends, if the settings ask for it.

    Raises:
        TracingUnavailable: the packages are not installed.
    """
    start_tracing(settings, service)
    try:
        yield
    finally:
        stop_tracing()


def start_tracing(settings: ServiceSettings, service: str) -> None:
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
    _Process.tracing = OtlpTracing(settings, service)


def stop_tracing() -> None:
    """Send what is left, and record no more."""
    recorder, _Process.tracing = _Process.tracing, None
    if recorder is not None:
        recorder.close()

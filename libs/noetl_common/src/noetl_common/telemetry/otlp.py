"""Spans of the OpenTelemetry SDK, sent as OTLP over HTTP; imported only if tracing is on.

The SDK itself reads OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_…,
OTEL_EXPORTER_OTLP_HEADERS, …_TIMEOUT, …_COMPRESSION, …_CERTIFICATE and the limits of spans.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from socket import gethostname
from typing import cast

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource, get_aggregated_resources
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from noetl_common import metrics
from noetl_common.telemetry.carrier import TRACE_PARENT, TRACE_STATE, Context, is_sampled
from noetl_common.telemetry.settings import TracingFields
from noetl_common.telemetry.span import Attributes, Kind

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtlpSpan:
    """A span of the SDK."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.context: Context = _written(span.get_span_context())

    def rename(self, name: str) -> None:
        """Change the name."""
        self._span.update_name(name)

    def add_attributes(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self, error: str) -> None:
        """Mark the span as failed."""
        self._span.set_status(Status(StatusCode.ERROR, error))

    def end(self, *, at_ns: int | None = None, error: str | None = None) -> None:
        """End the span."""
        if error is not None:
            self.fail(error)
        self._span.end(at_ns)


class Unrecorded:
    """A span of a trace that its first service did not sample, so that no span is recorded."""

    __slots__ = ("context",)

    def __init__(self, context: Context) -> None:
        self.context = context

    def rename(self, name: str) -> None:
        """Do nothing."""

    def add_attributes(self, attributes: Attributes) -> None:
        """Do nothing."""

    def fail(self, error: str) -> None:
        """Do nothing."""

    def end(self, *, at_ns: int | None = None, error: str | None = None) -> None:
        """Do nothing."""


class OtlpTracing:
    """Records spans and sends them in batches, from a thread of its own.

    While the receiver is away, the newest `OTEL_BSP_MAX_QUEUE_SIZE` (2048) spans are kept.
    """

    def __init__(self, settings: TracingFields, service: str, *, revision: str) -> None:
        sampler = _sampler(settings)
        self._is_parent_based = settings.otel_traces_sampler.startswith("parentbased_")
        self._provider = TracerProvider(
            sampler=sampler,
            resource=_resource(service, revision),
            span_limits=SpanLimits(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Counted(OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer("noetl")

    def begin(
        self,
        name: str,
        parent: Context | None,
        *,
        kind: Kind = "internal",
        at_ns: int | None = None,
        links: Iterable[Context] = (),
        attributes: Attributes | None = None,
    ) -> OtlpSpan | Unrecorded:
        """Begin a span."""
        if parent is not None and self.ignores(parent):
            return Unrecorded(parent)
        above = trace.set_span_in_context(
            trace.INVALID_SPAN if parent is None else NonRecordingSpan(_read(parent))
        )
        span = self._tracer.start_span(
            name,
            above,
            _KINDS[kind],
            dict(attributes or {}),
            links=[Link(_read(link)) for link in links],
            start_time=at_ns,
            record_exception=False,
        )
        return OtlpSpan(span)

    def ignores(self, parent: Context) -> bool:
        """Return whether the sampler depends on the parent and the parent is not sampled."""
        return self._is_parent_based and not is_sampled(parent)

    def close(self) -> None:
        """Send the remaining spans, for at most a few seconds."""
        self._provider.force_flush(timeout_millis=_LAST_MS)
        self._provider.shutdown()


class _Counted(SpanExporter):  # type: ignore[misc]  # mypy skips the package of the base class
    """Counts the spans that an exporter sends and loses."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._spans = metrics.counter(
            "noetl_spans_total",
            "Spans that the receiver accepted, or that were lost; only while tracing is on.",
            ("outcome",),
            zeros=("sent", "lost"),
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        is_sent = result is SpanExportResult.SUCCESS
        self._spans.labels("sent" if is_sent else "lost").inc(len(spans))
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send the waiting spans."""
        return bool(self._exporter.force_flush(timeout_millis))


_LAST_MS = 3000


def _sampler(settings: TracingFields) -> Sampler:
    ratio = settings.sampled_ratio()
    made: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "parentbased_always_on": DEFAULT_ON,
        "parentbased_always_off": DEFAULT_OFF,
    }
    name = settings.otel_traces_sampler
    if name in made:
        return made[name]
    return TraceIdRatioBased(ratio) if name == "traceidratio" else ParentBasedTraceIdRatio(ratio)


def _resource(service: str, revision: str) -> Resource:
    try:
        release = version("noetl-common")
    except PackageNotFoundError:
        release = "unknown"
    own = {
        "service.name": f"noetl-{service}",
        "service.namespace": "noetl",
        "service.version": f"{release}+{revision}" if revision else release,
        "host.name": gethostname(),
    }
    # Variables of the SDK take precedence.
    return get_aggregated_resources([OTELResourceDetector()], Resource.create(own))


def _written(context: SpanContext) -> Context:
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    state = context.trace_state.to_header() if context.trace_state else ""
    return {TRACE_PARENT: parent, TRACE_STATE: state} if state else {TRACE_PARENT: parent}


def _read(context: Context) -> SpanContext:
    _, trace_id, span_id, flags = context[TRACE_PARENT].split("-")
    state = context.get(TRACE_STATE)
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=True,
        trace_flags=cast("TraceFlags", TraceFlags(int(flags, 16) & 3)),
        trace_state=TraceState.from_header([state]) if state else None,
    )

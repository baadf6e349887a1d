"""Traces through the relay: rows carry the trace context of their messages."""

from collections.abc import Mapping, Sequence

from noetl_common.errors import NoetlError
from noetl_common.ids import time_of_id_ms
from noetl_common.telemetry.carrier import Context, read_context
from noetl_common.telemetry.span import Span
from noetl_common.telemetry.tracing import tracing

from noetl_outbox.rows import Row


def open_spans(rows: Sequence[Row]) -> Mapping[int, Span]:
    """Begin a span for each traced row, at the time when the row was written.

    Returns the spans by row id; the mapping is empty while tracing is off.
    """
    recorder = tracing()
    if recorder is None:
        return {}
    spans: dict[int, Span] = {}
    for row in rows:
        context = _context_of(row)
        if context is not None and not recorder.ignores(context):
            spans[row.outbox_id] = recorder.begin(
                f"relay {row.kind}",
                context,
                kind="producer",
                at_ns=time_of_id_ms(row.outbox_id) * 1_000_000,
                attributes={"noetl.execution_id": str(row.execution_id)},
            )
    return spans


def headers_of(row: Row, spans: Mapping[int, Span]) -> Context | None:
    """Return the trace headers of a row's messages, or None if the row has no trace context."""
    span = spans.get(row.outbox_id)
    return _context_of(row) if span is None else span.context


def end_spans(rows: Sequence[Row], results: Sequence[object], spans: Mapping[int, Span]) -> None:
    """End the span of each row, with the error if the row could not be published."""
    if not spans:
        return
    for row, result in zip(rows, results, strict=True):
        span = spans.get(row.outbox_id)
        if span is not None:
            span.end(error=result.message if isinstance(result, NoetlError) else None)


def _context_of(row: Row) -> Context | None:
    payload = row.payload
    trace = payload.get("trace") if isinstance(payload, dict) else None
    return None if trace is None else read_context(trace)

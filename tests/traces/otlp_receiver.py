"""An OTLP receiver in the test's own process: HTTP with protobuf, as a collector listens."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was sent."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    attributes: dict[str, object]
    links: tuple[str, ...]
    failed: bool


@dataclass
class Receiver:
    """Spans by their ids, as they come."""

    url: str = ""
    spans: dict[str, ReceivedSpan] = field(default_factory=dict)

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace, in the order of their beginnings."""
        found = [span for span in list(self.spans.values()) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.begin_ns)

    def about(self, execution_id: int) -> set[str]:
        """Return the ids of the traces that name an execution."""
        named = str(execution_id)
        return {
            span.trace_id
            for span in list(self.spans.values())
            if span.attributes.get("noetl.execution_id") == named
        }

    def take(self, body: bytes) -> None:
        """Take the body of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            service = _attributes(group.resource.attributes).get("service.name")
            for scope in group.scope_spans:
                for span in scope.spans:
                    received = ReceivedSpan(
                        service=str(service),
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        begin_ns=span.start_time_unix_nano,
                        end_ns=span.end_time_unix_nano,
                        attributes=_attributes(span.attributes),
                        links=tuple(link.span_id.hex() for link in span.links),
                        failed=span.status.code == 2,
                    )
                    self.spans[received.span_id] = received


def _attributes(pairs: Any) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a port of our own until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()

"""An edge that knows one playbook and plays back events, for tests of `run`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EXECUTION = 325077236512452608
type Event = dict[str, Any]


def event(number: int, kind: str, node: str | None = None, **columns: Any) -> Event:
    """One event as the stream sends it."""
    return {
        "event_id": EXECUTION + number,
        "execution_id": EXECUTION,
        "event_type": kind,
        "node_name": node,
        "status": "x",
        "created_at": f"2026-06-15T09:18:{number % 60:02d}.000000Z",
        "result": None,
        "error": None,
        **columns,
    }


def of_command(kind: str, node: str, number: int, command: str = "1", **context: Any) -> Event:
    """An event that a worker sent about a command."""
    inner = {"command_id": f"{EXECUTION}:{node}:{command}", **context}
    return event(number, kind, node, result={"status": "x", "context": inner})


def done(node: str, number: int, data: Any, command: str = "1", **outcome: Any) -> list[Event]:
    """The events of a command whose tool returned."""
    result = {"status": "success", "context": {"status": "success", "data": data, **outcome}}
    return [
        event(number, "command.issued", node),
        of_command("command.claimed", node, number + 1, command),
        of_command("command.started", node, number + 2, command),
        of_command("call.done", node, number + 3, command, call_index=0, result=result),
        of_command("command.completed", node, number + 4, command, status="success"),
    ]


def failed(node: str, number: int, error: str) -> list[Event]:
    """The events of a command whose tool raised."""
    return [
        event(number, "command.issued", node),
        of_command("call.error", node, number + 1, error=error),
        of_command("command.failed", node, number + 2, error=error),
    ]


@dataclass
class FakeEdge:
    """What the edge answers, and what it was asked."""

    events: list[Event] = field(default_factory=list)
    status: str = "COMPLETED"
    refusal: tuple[int, str] | None = None
    is_stranger: bool = False
    has_stream: bool = True
    breaks_after: int | None = None
    ends_cancelled: bool = True
    is_closed: bool = False
    started: dict[str, Any] = field(default_factory=dict)
    cancelled: dict[str, Any] | None = None
    resumed_after: list[str] = field(default_factory=list)
    url: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, *events: Event) -> None:
        """Lets more events happen."""
        with self.changed:
            self.events.extend(events)
            self.changed.notify_all()

    def after(self, last: str | None) -> int:
        """How many events a client has that saw this one."""
        ids = [str(e["event_id"]) for e in self.events]
        return ids.index(last) + 1 if last else 0


@contextmanager
def serving(edge: FakeEdge) -> Iterator[FakeEdge]:
    """Serves the edge for the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.edge = edge
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    edge.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield edge
    finally:
        edge.is_closed = True
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    edge: FakeEdge


class _Handler(BaseHTTPRequestHandler):
    @property
    def edge(self) -> FakeEdge:
        assert isinstance(self.server, _Server)
        return self.server.edge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.edge.is_stranger:
            self._answer(200, {"hello": "there"})
        elif self.path == "/api/catalog/register":
            if self.edge.refusal:
                code, text = self.edge.refusal
                self._answer(code, {"error": text, "status": code})
            else:
                self._answer(200, {"path": "tests/it", "version": 3})
        elif self.path == "/api/execute":
            self.edge.started.update(body)
            self._answer(200, {"execution_id": str(EXECUTION), "status": "started"})
        else:
            self.edge.cancelled = body
            if self.edge.ends_cancelled:
                self.edge.status = "CANCELLED"
                self.edge.add(event(59, "playbook_cancelled", "playbook"))
            self._answer(200, {"status": "cancelled"})

    def do_GET(self) -> None:
        if self.path.endswith("/events/stream"):
            if self.edge.has_stream:
                self._stream()
            else:
                self._answer(404, {"error": "no", "status": 404})
        elif self.path.endswith("/status"):
            self._answer(200, {"status": self.edge.status})
        else:
            self._answer(200, {"status": self.edge.status, "events": self.edge.events})

    def _stream(self) -> None:
        last = self.headers.get("Last-Event-ID")
        self.edge.resumed_after.append(last or "")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._send("retry: 3000\n\n: keep-alive\n\n")
        sent = self.edge.after(last)
        while True:
            with self.edge.changed:
                while len(self.edge.events) <= sent:
                    if self.edge.is_closed:
                        return
                    self.edge.changed.wait(0.05)
                item = self.edge.events[sent]
            sent += 1
            self._send(f"id: {item['event_id']}\nevent: event\ndata: {json.dumps(item)}\n\n")
            if item["node_name"] == "playbook":
                self._send(f'event: end\ndata: {{"status": "{self.edge.status}"}}\n\n')
                return
            if self.edge.breaks_after == sent:
                self.edge.breaks_after = None
                return

    def _send(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has seen enough
            super().handle()

"""An edge that knows one playbook and plays back events, for tests of `run`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from noetl_contract.json import JsonObject
from noetl_testkit import web
from noetl_testkit.web import Request, Response

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
    """Answers of the edge, and the requests that it got."""

    events: list[Event] = field(default_factory=list)
    status: str = "COMPLETED"
    standing: dict[str, Any] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    is_stranger: bool = False
    has_stream: bool = True
    breaks_after: int | None = None
    ends_cancelled: bool = True
    is_closed: bool = False
    asked: list[str] = field(default_factory=list)
    """The paths of all requests."""
    started: dict[str, Any] = field(default_factory=dict)
    cancelled: dict[str, Any] | None = None
    signals: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    resumed_after: list[str] = field(default_factory=list)
    printed: list[dict[str, Any]] = field(default_factory=list)
    are_lines_told: bool = False
    """Whether a client has had all that was printed, and its end."""
    url: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, *events: Event) -> None:
        """Let more events happen."""
        with self.changed:
            self.events.extend(events)
            self.changed.notify_all()

    def wait_for(self, number: int) -> Event | None:
        """Return an event as soon as it has happened; None if the edge closes before."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_closed or len(self.events) > number)
            return self.events[number] if len(self.events) > number else None

    def tell_lines(self) -> None:
        """Note that a client has had all that was printed."""
        with self.changed:
            self.are_lines_told = True
            self.changed.notify_all()

    def wait_for_lines(self) -> None:
        """Wait until a client has had all that was printed, if there is some."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_closed or not self.printed or self.are_lines_told)

    def close(self) -> None:
        """End the open streams."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()

    def after(self, last: str | None) -> int:
        """Count the events that a client has which saw this one last."""
        ids = [str(e["event_id"]) for e in self.events]
        return ids.index(last) + 1 if last else 0


@contextmanager
def serving(edge: FakeEdge) -> Iterator[FakeEdge]:
    """Serve the edge for the block."""
    with web.serving(lambda request: _answer(edge, request)) as server:
        edge.url = server.url
        try:
            yield edge
        finally:
            edge.close()


def _answer(edge: FakeEdge, request: Request) -> Response:
    path = request.path
    edge.asked.append(path)
    if request.method == "POST":
        return _write(edge, path, request.json)
    if path.endswith("/events/stream"):
        if not edge.has_stream:
            return Response({"error": "no", "status": 404}, 404)
        if "output" in request.query_lists:
            return Response(_printed(edge), headers={"Content-Type": "text/event-stream"})
        last = request.headers.get("last-event-id")
        edge.resumed_after.append(last or "")
        return Response(_stream(edge, last), headers={"Content-Type": "text/event-stream"})
    if path.endswith("/status"):
        return Response({"status": edge.status, **edge.standing})
    is_page = path.endswith("/events")
    return Response(
        _page(edge, request) if is_page else {"status": edge.status, "events": edge.events}
    )


_ABSENT = dict.fromkeys(
    ("node_id", "context", "catalog_id", "parent_execution_id", "parent_event_id", "duration")
)


def _page(edge: FakeEdge, request: Request) -> dict[str, Any]:
    wanted = {"event_type": "event_type", "step": "node_name"}
    found = [
        {**_ABSENT, "catalog_id": 7, "timestamp": one["created_at"], **one}
        for one in edge.events
        if all(
            request.query_lists.get(name, [one[field]]) == [one[field]]
            for name, field in wanted.items()
        )
    ]
    pages = {
        "page": 1, "page_size": 200, "total_events": len(found), "total_pages": 1,
        "has_next": False, "has_prev": False,
    }  # fmt: skip
    about = {"execution_id": EXECUTION, "path": "tests/it", "status": edge.status}
    return {**about, "events": found, "pagination": pages}


def _write(edge: FakeEdge, path: str, body: JsonObject) -> Response:
    if edge.is_stranger:
        return Response({"hello": "there"})
    if path == "/api/catalog/register":
        if edge.refusal:
            code, text = edge.refusal
            return Response({"error": text, "status": code}, code)
        kept = {"path": "tests/it", "version": 3, "catalog_id": "7", "kind": "playbook"}
        return Response({"status": "success", "message": "kept", **kept})
    if path == "/api/execute":
        edge.started.update(body)
        started = {"execution_id": str(EXECUTION), "status": "started", "commands_generated": 1}
        return Response(started)
    _, is_signal, name = path.partition("/signals/")
    if is_signal:
        edge.signals.append((name, dict(body)))
        told = {"execution_id": EXECUTION, "signal": name, "signal_id": str(body.get("id"))}
        return Response({**told, "status": "taken", "step": "start", "iteration": None})
    edge.cancelled = body
    if edge.ends_cancelled:
        edge.status = "CANCELLED"
        edge.add(event(59, "playbook_cancelled", "playbook"))
    return Response({"execution_id": EXECUTION, "status": "cancelled", "message": "cancelled"})


def _printed(edge: FakeEdge) -> Iterator[bytes]:
    yield b"retry: 3000\n\n"
    for one in edge.printed:
        yield f"event: output\ndata: {json.dumps(one)}\n\n".encode()
    number = 0
    while (item := edge.wait_for(number)) is not None:
        number += 1
        if item["node_name"] == "playbook":
            yield b"event: end\ndata: {}\n\n"
            edge.tell_lines()
            return


def _stream(edge: FakeEdge, last: str | None) -> Iterator[bytes]:
    yield b"retry: 3000\n\n: keep-alive\n\n"
    sent = edge.after(last)
    while (item := edge.wait_for(sent)) is not None:
        sent += 1
        if item["node_name"] == "playbook":
            # Who follows both waits for the rest of the lines no longer than a moment.
            edge.wait_for_lines()
        yield f"id: {item['event_id']}\nevent: event\ndata: {json.dumps(item)}\n\n".encode()
        if item["node_name"] == "playbook":
            yield f'event: end\ndata: {{"status": "{edge.status}"}}\n\n'.encode()
            return
        if edge.breaks_after == sent:
            edge.breaks_after = None
            return

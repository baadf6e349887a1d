"""Stand-ins for the hosts that the real playbooks name."""

import base64
import binascii
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from noetl_contract.json import Json

PAGINATED_API = "http://paginated-api.test-server.svc.cluster.local:5555"
INTERNET = ("https://jsonplaceholder.typicode.com", "https://httpbin.org")
TOTAL = 35

type Answer = tuple[int, Json, dict[str, str]]


class Api:
    """What the endpoints remember between calls."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flaky_calls: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.recent: list[float] = []
        self.reset_probes()

    def reset_probes(self) -> None:
        """Forget the probes of an earlier run."""
        self.started = self.completed = self.active = self.max_active = 0

    # -- pages -------------------------------------------------------------------------------

    def assessments(self, query: dict[str, str]) -> Answer:
        page, size = int(query.get("page", 1)), int(query.get("pageSize", 10))
        numbers = _page((page - 1) * size, size)
        data = [{"id": i, "name": f"Assessment {i}", "score": 50 + i % 50} for i in numbers]
        paging = {"hasMore": page * size < TOTAL, "page": page, "pageSize": size, "total": TOTAL}
        return _ok({"data": data, "paging": paging})

    def users(self, query: dict[str, str]) -> Answer:
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 10))
        users = [
            {"id": i, "username": f"user{i}", "email": f"user{i}@example.com"}
            for i in _page(offset, limit)
        ]
        more = offset + limit < TOTAL
        return _ok(
            {"users": users, "has_more": more, "offset": offset, "limit": limit, "total": TOTAL}
        )

    def events(self, query: dict[str, str]) -> Answer:
        limit = int(query.get("limit", 10))
        try:
            page = int(base64.b64decode(query.get("cursor", ""), validate=True))
        except (ValueError, binascii.Error):
            page = 1
        events = [
            {
                "id": i,
                "type": "user_action",
                "timestamp": f"2024-01-{i % 28 + 1:02}T12:00:00Z",
                "data": {"action": f"event_{i}"},
            }
            for i in _page((page - 1) * limit, limit)
        ]
        more = page * limit < TOTAL
        cursor = base64.b64encode(str(page + 1).encode()).decode() if more else None
        return _ok({"events": events, "next_cursor": cursor, "limit": limit})

    def heavy(self, query: dict[str, str]) -> Answer:
        page, size = int(query.get("page", 1)), int(query.get("pageSize", 10))
        text = "x" * 1024 * int(query.get("payload_kb", 10))
        numbers = [i for i in range((page - 1) * size + 1, page * size + 1) if i <= 100]
        paging = {"hasMore": page * size < 100, "page": page, "pageSize": size, "total": 100}
        return _ok({"data": [{"id": i, "payload": text} for i in numbers], "paging": paging})

    # -- trouble -----------------------------------------------------------------------------

    def flaky(self, query: dict[str, str]) -> Answer:
        page = query.get("page", "1")
        with self.lock:
            self.flaky_calls[page] += 1
            is_first = self.flaky_calls[page] == 1
        if is_first and page in query.get("fail_on", "2,3").split(","):
            return 500, {"detail": "Simulated failure"}, {}
        data = [{"id": i, "value": f"item_{i}"} for i in _page((int(page) - 1) * 10, 10)]
        paging = {"hasMore": int(page) * 10 < TOTAL, "page": int(page), "total": TOTAL}
        return _ok({"data": data, "paging": paging})

    def reset_flaky(self, _query: dict[str, str]) -> Answer:
        self.flaky_calls.clear()
        return _ok({"status": "reset", "message": "Flaky endpoint counters cleared"})

    def errors(self, query: dict[str, str]) -> Answer:
        kind = query.get("error_type", "")
        if kind in {"429", "503"}:
            header = {"Retry-After": query.get("retry_after", "5")}
            return int(kind), {"detail": f"Simulated {kind}"}, header
        if kind == "auth":
            return 401, {"detail": "Unauthorized - invalid credentials"}, {}
        if kind == "timeout":
            time.sleep(30)
        if kind in {"500", "403", "404"}:
            return int(kind), {"detail": f"Simulated {kind}"}, {}
        return _ok({"data": [{"id": i} for i in _page(0, 10)]})

    def rate_limited(self, query: dict[str, str]) -> Answer:
        limit = int(query.get("requests_per_second", 2))
        now = time.monotonic()
        with self.lock:
            self.recent = [moment for moment in self.recent if moment > now - 1]
            count = len(self.recent)
            if count < limit:
                self.recent.append(now)
        if count >= limit:
            body = {
                "error": "Rate limit exceeded",
                "requests_in_window": count,
                "limit": limit,
            }
            return 429, body, {"Retry-After": "1"}
        return _ok({"data": [{"id": i} for i in _page(0, 10)], "paging": {"hasMore": False}})

    # -- overlap -----------------------------------------------------------------------------

    def probe(self, query: dict[str, str]) -> Answer:
        seconds = float(query.get("delay_seconds", 0))
        if not 0 <= seconds <= 300:
            return 422, {"detail": "delay_seconds out of range"}, {}
        with self.lock:
            self.started += 1
            self.active += 1
            number, at_start = self.started, self.active
            self.max_active = max(self.max_active, self.active)
        time.sleep(seconds)
        with self.lock:
            self.active -= 1
            self.completed += 1
        body = {
            "request_id": number,
            "label": query.get("label", "probe"),
            "delay_seconds": seconds,
            "duration_seconds": seconds,
            "active_at_start": at_start,
        }
        return _ok(body | self._figures())

    def probe_stats(self, _query: dict[str, str]) -> Answer:
        return _ok({**self._figures(), "recent_events": []})

    def probe_reset(self, _query: dict[str, str]) -> Answer:
        with self.lock:
            self.reset_probes()
        return _ok({"status": "reset"})

    def _figures(self) -> dict[str, int]:
        return {
            "started": self.started,
            "completed": self.completed,
            "active": self.active,
            "max_active": self.max_active,
        }

    # -- the internet ------------------------------------------------------------------------

    def posts(self, _query: dict[str, str]) -> Answer:
        post = {"userId": 1, "title": "it's a title", "body": "a body"}
        return _ok([{"id": i, **post} for i in range(1, 101)])

    def anything(self, _query: dict[str, str]) -> Answer:
        return _ok({"ok": True})

    def routes(self) -> dict[tuple[str, str], Callable[[dict[str, str]], Answer]]:
        """Return the endpoints by method and path."""
        return {
            ("GET", "/health"): lambda _: _ok({"status": "ok"}),
            ("GET", "/api/v1/assessments"): self.assessments,
            ("GET", "/api/v1/users"): self.users,
            ("GET", "/api/v1/events"): self.events,
            ("GET", "/api/v1/heavy"): self.heavy,
            ("GET", "/api/v1/flaky"): self.flaky,
            ("POST", "/api/v1/flaky/reset"): self.reset_flaky,
            ("GET", "/api/v1/errors"): self.errors,
            ("GET", "/api/v1/rate-limited"): self.rate_limited,
            ("GET", "/api/v1/concurrency/probe"): self.probe,
            ("GET", "/api/v1/concurrency/stats"): self.probe_stats,
            ("POST", "/api/v1/concurrency/reset"): self.probe_reset,
            ("GET", "/posts"): self.posts,
            ("GET", "/internet"): self.anything,
            ("POST", "/internet"): self.anything,
        }


def _ok(body: Json) -> Answer:
    return 200, body, {}


def _page(start: int, size: int) -> range:
    return range(start + 1, min(start + size, TOTAL) + 1)


class MockHosts:
    """One server on a port of its own that plays all hosts."""

    def __init__(self) -> None:
        api = self.api = Api()
        routes = api.routes()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                url = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                api.requests[f"{self.command} {url.path}"] += 1
                route = routes.get((self.command, url.path))
                status, body, headers = (
                    (404, {"detail": "Not Found"}, {}) if route is None else route(query)
                )
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the caller may have given up
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  names of the base

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def rewrite(self, text: str) -> str:
        """Return a playbook that calls this server instead of the hosts it names."""
        for host in (PAGINATED_API, *INTERNET):
            text = text.replace(host, self.url)
        return text

    @contextlib.contextmanager
    def running(self) -> Iterator["MockHosts"]:
        """Serve for the length of the block."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(timeout=10)

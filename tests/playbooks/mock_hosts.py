"""Stand-ins for the hosts that the real playbooks name."""

import base64
import binascii
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from noetl_contract.json import Json
from noetl_testkit.web import Request, Response, serving

PAGINATED_API = "http://paginated-api.test-server.svc.cluster.local:5555"
INTERNET = ("https://jsonplaceholder.typicode.com", "https://httpbin.org")
TOTAL = 35
_OVERLAP_SECONDS = 10

type Answer = tuple[int, Json, dict[str, str]]


class Api:
    """State of the endpoints between calls."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flaky_calls: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.recent: list[float] = []
        self.closing = threading.Event()
        self.reset_probes()

    def reset_probes(self) -> None:
        """Forget the probes of an earlier run."""
        self.started = self.completed = self.active = self.max_active = 0
        self.overlapped = threading.Event()

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
            self.closing.wait(30)  # longer than any tool waits
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
            if self.active > 1:
                self.overlapped.set()
        # A call is not over before another has begun, whichever of them arrives first: calls one
        # after the other then never overlap, calls at once always do.
        self.overlapped.wait(_OVERLAP_SECONDS)
        # It is the workload: a call that lasts while others begin.
        self.closing.wait(seconds)
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


@dataclass(frozen=True)
class MockHosts:
    """One server that plays all hosts."""

    api: Api
    url: str

    def rewrite(self, text: str) -> str:
        """Return a playbook that calls this server instead of the hosts it names."""
        for host in (PAGINATED_API, *INTERNET):
            text = text.replace(host, self.url)
        return text


@contextlib.contextmanager
def mock_hosts() -> Iterator[MockHosts]:
    """Serve for the length of the block."""
    api = Api()
    routes = api.routes()

    def answer(request: Request) -> Response:
        place = f"{request.method} {request.path}"
        api.requests[place] += 1
        route = routes.get((request.method, request.path))
        if route is None:
            return Response({"detail": "Not Found"}, 404)
        status, body, headers = route(request.query)
        return Response(body, status, headers)

    with serving(answer) as server:
        try:
            yield MockHosts(api, server.url)
        finally:
            api.closing.set()

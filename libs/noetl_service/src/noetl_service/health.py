"""The routes of health and metrics, as a small ASGI app."""

from typing import Any, Protocol

import orjson
from noetl_common import metrics
from noetl_contract.json import JsonObject


class HealthSource(Protocol):
    """The state of the process."""

    name: str

    async def readiness(self) -> dict[str, str]:
        """Return ``ok`` or the reason why not, by check."""

    async def measured(self) -> bytes:
        """Return all metrics in the text format."""

    def stuck_loops(self) -> dict[str, float]:
        """Return loops that were silent for too long, with the seconds."""


class HealthRoutes:
    """``/healthz``: the loops make progress. ``/readyz``: the checks pass. ``/metrics``."""

    def __init__(self, source: HealthSource) -> None:
        self._source = source

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Answer one request."""
        status, kind, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        is_head = scope["method"] == "HEAD"
        await send({"type": "http.response.body", "body": b"" if is_head else body})

    async def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        if method not in {"GET", "HEAD"}:
            return _json(405, {"error": "method not allowed", "status": 405, "detail": None})
        match path:
            case "/healthz":
                stuck = self._source.stuck_loops()
                body = {"status": "stuck" if stuck else "ok", "service": self._source.name}
                return _json(503 if stuck else 200, {**body, "loops": stuck})
            case "/readyz":
                checks = await self._source.readiness()
                ready = all(answer == "ok" for answer in checks.values())
                body = {"status": "ready" if ready else "not ready", "service": self._source.name}
                return _json(200 if ready else 503, {**body, "checks": checks})
            case "/metrics":
                return 200, metrics.CONTENT_TYPE.encode(), await self._source.measured()
        return _json(404, {"error": "not found", "status": 404, "detail": None})


def _json(status: int, body: JsonObject) -> tuple[int, bytes, bytes]:
    return status, b"application/json", orjson.dumps(body)

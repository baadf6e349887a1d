"""The routes of health and metrics, as a small ASGI app, and the metric of the build."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import orjson
from noetl_common import metrics
from noetl_contract.json import JsonObject

UNKNOWN = "unknown"
"""Version or revision of a process without one."""


class HealthSource(Protocol):
    """A process that reports its health."""

    name: str

    async def readiness(self) -> dict[str, str]:
        """Return the result of each check: ``ok``, or the reason of its failure."""

    async def measured(self) -> bytes:
        """Return all metrics in the text format."""

    def stuck_loops(self) -> dict[str, float]:
        """Return the loops that make no progress, with the seconds since their last beat."""


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


def export_build(service: str, *, revision: str) -> None:
    """Export service, version, revision and Python's version as labels of ``noetl_build_info``."""
    info = metrics.gauge(
        "noetl_build_info",
        "Always 1; the labels show the version and revision of the process.",
        ("service", "version", "revision", "python"),
    )
    revision = revision or UNKNOWN
    info.labels(service, version_of(service), revision, platform.python_version()).set(1)


def version_of(service: str) -> str:
    """Return the version of a service's package, or `unknown` if it isn't installed."""
    try:
        return version(f"noetl-{service}")
    except PackageNotFoundError:
        return UNKNOWN

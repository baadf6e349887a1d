"""Settings of routes that NoETL's own server goes on answering."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH"})


@dataclass(frozen=True, slots=True)
class RoutePattern:
    """Routes by method and path; ``method`` is empty for all."""

    method: str
    path: re.Pattern[str]

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is for one of these routes."""
        return self.method in {"", method} and self.path.fullmatch(path) is not None


def parsed_routes(text: str) -> tuple[RoutePattern, ...]:
    """Return the patterns of a list by commas, as ``/api/catalog/*, POST /api/execute``.

    Raises:
        ValueError: one has another form.
    """
    return tuple(_pattern(part.strip()) for part in text.split(",") if part.strip())


def _pattern(text: str) -> RoutePattern:
    method, gap, path = text.rpartition(" ")
    if gap and method.strip().upper() not in _METHODS:
        raise ValueError(f"NOETL_LEGACY_ROUTES: {text!r} begins with no method")
    if path != "*" and not path.startswith("/api/"):
        raise ValueError(f"NOETL_LEGACY_ROUTES: {text!r} is no path below /api/, nor *")
    pieces = (re.escape(piece) for piece in path.split("*"))
    return RoutePattern(method.strip().upper(), re.compile(".*".join(pieces), re.DOTALL))


class LegacySettings(SettingsPiece):
    """Routes that an existing server goes on answering, and the timeouts of requests to it."""

    legacy_routes: str = ""
    """Routes below /api/ that it answers, separated by commas: `/api/catalog/*`, `POST
    /api/execute`, `*` for all but /api/health. What names an execution goes to where that began."""
    legacy_connect_seconds: float = Field(default=5.0, gt=0)
    """Timeout of a connection to it."""
    legacy_answer_seconds: float = Field(default=30.0, gt=0)
    """Timeout of the beginning of its answer."""
    legacy_silence_seconds: float = Field(default=120.0, gt=0)
    """Silence within its answer that ends the request."""
    legacy_connections: int = Field(default=200, ge=1)
    """Connections to it at once; more requests wait."""

    def legacy_patterns(self) -> tuple[RoutePattern, ...]:
        """Return the routes that it answers.

        Raises:
            ValueError: one has another form.
        """
        return parsed_routes(self.legacy_routes)


def check_address(url: str) -> None:
    """Refuse a text that is no address of a server.

    Raises:
        ValueError: it is none; the text names the setting.
    """
    for problem in _problems(url):
        raise ValueError(f"NOETL_LEGACY_URL {problem}")


def _problems(url: str) -> Iterator[str]:
    place = urlsplit(url)
    if place.scheme not in {"http", "https"} or not place.hostname:
        yield "must be like http://noetl-server:8082"
    elif place.username is not None or place.password is not None:
        yield "must hold no login: it is shown in logs"
    elif place.path not in {"", "/"} or place.query or place.fragment:
        yield "must have no path"

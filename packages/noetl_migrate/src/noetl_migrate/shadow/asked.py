"""Requests to both servers: a table of reads, or the reads of an access log."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

import orjson
from noetl_contract.json import Json, JsonObject

_READS = frozenset({"GET", "HEAD"})
_READING_POSTS = frozenset({"/api/catalog/list", "/api/catalog/resource"})
_LINE = re.compile(r"\b(GET|HEAD|POST)\s+(?:https?://[^/\s]+)?(/[^\s\"]*)(?:\s+(\{.*\}))?")
_NUMBER = re.compile(r"^\d+$")
# Their answers hold secrets, or have no end.
_LEFT_OUT = re.compile(r"/sealed$|^/api/keychain/\d|^/api/auth/|^/api/internal/|/stream$|^/events$")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes nothing; ``route`` is its path with names for its variable parts."""

    method: str
    target: str
    body: JsonObject | None
    route: str


def of_log(lines: Iterable[str]) -> Iterator[Asked | str]:
    """Return the reads of an access log, and the lines that name a request which is left out.

    A line holds ``GET /path`` somewhere, as all usual formats do; a POST that reads has its JSON
    behind it.
    """
    for line in lines:
        found = _LINE.search(line)
        if found is None:
            continue
        method, target, text = found[1], found[2].replace("/noetl/", "/api/", 1), found[3]
        path = urlsplit(target).path
        is_read = method in _READS or (method == "POST" and path in _READING_POSTS and text)
        if not is_read or is_left_out(target):
            yield f"{method} {path}"
            continue
        body: Json = _object(text) if method == "POST" else None
        if method == "POST" and body is None:
            yield f"{method} {path}"
            continue
        yield Asked("GET" if method == "HEAD" else method, target, body, route_of(path))


def is_left_out(target: str) -> bool:
    """Return whether an answer could hold a secret, or has no end."""
    place = urlsplit(target)
    shows = parse_qs(place.query).get("include_data", ["false"])[-1]
    return _LEFT_OUT.search(place.path) is not None or shows.lower() not in {"false", "0", ""}


FIXED = (
    Asked("POST", "/api/catalog/list", {}, "POST /api/catalog/list"),
    Asked("GET", "/api/credentials", None, "/api/credentials"),
    Asked("GET", "/api/worker/pools", None, "/api/worker/pools"),
    Asked("GET", "/api/executions?limit=100", None, "/api/executions"),
    Asked("GET", "/api/db/validate", None, "/api/db/validate"),
)
"""Reads that need no name."""


def of_document(path: str, version: int) -> Iterator[Asked]:
    """Return the reads of one version of a document."""
    body: JsonObject = {"path": path, "version": str(version)}
    yield Asked("POST", "/api/catalog/resource", body, "POST /api/catalog/resource")
    named = f"/api/catalog/{quote(path)}/ui_schema"
    yield Asked("GET", f"{named}?version={version}", None, "/api/catalog/{path}/ui_schema")


def of_credential(name: str) -> Iterator[Asked]:
    """Return the reads of a credential, without its data."""
    target = f"/api/credentials/{quote(name, safe='')}"
    yield Asked("GET", target, None, "/api/credentials/{name}")


def of_execution(number: int) -> Iterator[Asked]:
    """Return the reads of an execution."""
    below = ("", "/status", "/cancellation-check")
    for part in below:
        route = f"/api/executions/{{id}}{part}"
        yield Asked("GET", f"/api/executions/{number}{part}", None, route)
    yield Asked("GET", f"/api/vars/{number}", None, "/api/vars/{id}")
    target = f"/api/replay/state?execution_id={number}"
    yield Asked("GET", target, None, "/api/replay/state")


def route_of(path: str) -> str:
    """Return a path with names for ids, and for the names of documents and credentials."""
    if path.startswith("/api/catalog/") and path.endswith("/ui_schema"):
        return "/api/catalog/{path}/ui_schema"
    if path.startswith("/api/credentials/"):
        return "/api/credentials/{name}"
    return "/".join("{id}" if _NUMBER.match(part) else part for part in path.split("/"))


def _object(text: str) -> JsonObject | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None

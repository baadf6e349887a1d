"""Templates and files of the console."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from noetl_console.api import path_segments, segment
from noetl_console.drawing.moments import ago, seconds_text, short_time
from noetl_console.drawing.values import Values
from noetl_console.requests import Page, PageRequest

_KINDS = MappingProxyType(
    {
        "console.js": "text/javascript",
        "htmx.min.js": "text/javascript",
        "icon.svg": "image/svg+xml",
        "output.js": "text/javascript",
        "style.css": "text/css",
    }
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that pages use."""

    content: bytes
    media_type: str
    digest: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return the console's files by name."""
    folder = files("noetl_console") / "static"
    found = {}
    for name, kind in _KINDS.items():
        content = (folder / name).read_bytes()
        found[name] = StaticFile(content, kind, hashlib.sha256(content).hexdigest()[:16])
    return found


def render(page: Page, request: PageRequest) -> str:
    """Return the HTML of a page, or of its changing part."""
    whole = not (request.is_partial and page.part)
    template = _environment().get_template(page.template if whole else page.part or "")
    return template.render(
        **page.shown,
        title=page.title,
        request=request,
        now=datetime.now(UTC),
        part=page.part,
        values=Values(page.longest_value),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("noetl_console", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        ago=ago,
        duration=seconds_text,
        time=short_time,
        state=_state_class,
        place=_place,
        segment=segment,
    )
    environment.globals["asset"] = _asset
    environment.globals["once"] = _once
    return environment


def _state_class(state: str | None) -> str:
    return (state or "pending").lower()


def _place(path: str | None) -> str:
    return path_segments(path or "")


def _once() -> str:
    """Return a random text for a form, by which its second submission is recognised."""
    return secrets.token_urlsafe(12)


def _asset(name: str) -> str:
    """Return the address of a file; it changes with the file, so browsers may keep it."""
    return f"/console/static/{name}?v={static_files()[name].digest}"

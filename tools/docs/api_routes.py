"""The table of routes in the page about the API, from the edge's handlers."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from noetl_api_gateway.routes.registry import RouteSettings, route_handlers
from tables import table

NAME = "docs/api.md"
_BEGIN = "<!-- routes: generated from the edge by tools/docs -->"
_END = "<!-- end of routes -->"
# Sizes don't matter to the table, and the console's pages are no API.
_SETTINGS = RouteSettings(
    max_body_bytes=1,
    max_result_body_bytes=1,
    max_batch_body_bytes=1,
    max_delivery_body_bytes=1,
    disable_metrics=False,
    console="off",
    mcp=False,
)


def page(root: Path) -> str:
    """Return the page with its tables anew.

    Raises:
        ValueError: the lines around the tables are missing.
    """
    text = (root / NAME).read_text()
    before, found, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"{NAME} lacks the lines around its table of routes")
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def tables() -> str:
    """Return a table for each group of routes, groups and routes by name."""
    groups: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for handler in _handlers():
        if not handler.include_in_schema:
            continue
        group = (handler.tags or ["other"])[0]
        needed = f"`{handler.opt['needs']}`"
        for path in sorted(handler.paths):
            shown = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
            for method in sorted(set(handler.http_methods) - {"OPTIONS"}):
                groups[group].append((f"`{method} {shown}`", handler.summary or "", needed))
    lines: list[str] = []
    for group in sorted(groups):
        rows = sorted(groups[group], key=lambda row: row[0].split(" ")[::-1])
        lines += [f"### {group}", "", *table(("route", "does", "right"), rows), ""]
    return "\n".join(lines).rstrip()


def _handlers() -> Iterator[HTTPRouteHandler]:
    for one in route_handlers(_SETTINGS):
        if isinstance(one, HTTPRouteHandler):
            yield one
        elif isinstance(one, Router):
            routes: Iterable[HTTPRoute] = (
                route for route in one.routes if isinstance(route, HTTPRoute)
            )
            yield from dict.fromkeys(chain.from_iterable(route.route_handlers for route in routes))

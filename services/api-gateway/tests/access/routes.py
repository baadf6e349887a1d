"""All routes of the edge, as the application has them."""

from collections.abc import Iterator

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings


def all_routes() -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield method, path and handler of each route of the API.

    Pages of the console are open to everybody: what they show and do are calls of these routes.
    """
    app = create_app(Settings())._app.litestar
    for route in app.routes:
        if isinstance(route, HTTPRoute) and not _is_console(route.path_format):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    yield method, route.path_format, handler


def _is_console(path: str) -> bool:
    return path in {"/", "/console"} or path.startswith("/console/")

"""All routes of the edge, as the application has them."""

from collections.abc import Iterator

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings


def all_routes() -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield method, path and handler of each route."""
    app = create_app(Settings())._app.litestar
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    yield method, route.path_format, handler

"""Every route that a module under `routes` makes is served."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from noetl_api_gateway import routes
from noetl_api_gateway.routes import registry
from noetl_api_gateway.settings import Settings


def made() -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield the handlers of all modules, by themselves and in lists, with their module."""
    for found in pkgutil.walk_packages(routes.__path__, f"{routes.__name__}."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            for handler in value if isinstance(value, list) else [value]:
                if isinstance(handler, HTTPRouteHandler):
                    yield found.name, handler


def not_served() -> set[str]:
    """Return the modules of routes that the registry doesn't hand out."""
    settings = registry.RouteSettings.of(Settings())
    router = Router("/", route_handlers=registry.route_handlers(settings))
    served = {
        (method, route.path)
        for route in router.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
    }
    return {
        module
        for module, handler in made()
        for method in handler.http_methods
        for path in handler.paths
        if (method, path) not in served
    }


def test_every_route_is_registered() -> None:
    assert not_served() == set()


@pytest.mark.parametrize("module", registry._MODULES, ids=lambda module: module.__name__)
def test_a_module_that_is_not_registered_is_found(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(other for other in registry._MODULES if other is not module)
    monkeypatch.setattr(registry, "_MODULES", others)

    assert not_served() == {module.__name__}

"""Every route that a module under `routes` makes is served."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from noetl_api_gateway import routes
from noetl_api_gateway.routes import registry
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.settings import Settings


def made() -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield the handlers of all modules, those of their topics and others, with their module."""
    for found in pkgutil.walk_packages(routes.__path__, f"{routes.__name__}."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if isinstance(value, Topic):
                handlers = [one for kind in value.routes.values() for one in kind]
            else:
                handlers = value if isinstance(value, list) else [value]
            for handler in handlers:
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


def test_a_topic_that_is_not_handed_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = list(registry._topics())
    monkeypatch.setattr(registry, "_topics", lambda: topics[1:])

    assert len(topics) > 40
    assert len(not_served()) == 1


def test_a_body_limit_is_that_of_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_MAX_BATCH_BODY_BYTES", "2048")
    settings = registry.RouteSettings.of(Settings())
    limits = {
        route.path: router.request_max_body_size
        for router in registry.route_handlers(settings)
        if isinstance(router, Router)
        for route in router.routes
    }

    assert limits == {
        "/api/catalog/register/batch": 2048,
        "/api/result/{execution_id:str}": settings.max_result_body_bytes,
        "/api/temp/{execution_id:str}": settings.max_result_body_bytes,
        "/ingress/{listener:str}": settings.max_delivery_body_bytes,
    }

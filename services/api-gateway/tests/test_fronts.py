"""Fronts of packages before the routes, and an edge without the package of a setting."""

from typing import Any

import pytest
from litestar import Litestar
from noetl_api_gateway import settings as settings_module
from noetl_api_gateway.fronts import Front, fronts_of
from noetl_api_gateway.gateway import GatewayProcess
from noetl_api_gateway.http.shell import Application, Receive, Scope, Send
from noetl_api_gateway.settings import FRONTS, Settings
from noetl_common.process.extensions import BadExtension
from pydantic import ValidationError

from .conftest import make_settings


class Outer:
    """Passes everything on."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.inner(scope, receive, send)

    async def aclose(self) -> None:
        pass


class Found:
    """An entry point of a package that is there for the test."""

    dist = None
    value = "some_package.front:create"

    def __init__(self, make: object, name: str) -> None:
        self.make = make
        self.name = name

    def load(self) -> object:
        if isinstance(self.make, Exception):
            raise self.make
        return self.make


async def routes(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(scope, receive, send)


def made(*factories: object) -> list[Front]:
    process = GatewayProcess(make_settings("nats://x:4222"))
    found: Any = [Found(one, f"front{number}") for number, one in enumerate(factories)]
    return fronts_of(routes, Litestar(), process, found=found)


def test_each_stands_before_what_was_there() -> None:
    first, second = made(
        lambda inner, *_: Outer(inner), lambda *_: None, lambda inner, *_: Outer(inner)
    )

    assert isinstance(first, Outer)
    assert isinstance(second, Outer)
    assert first.inner is routes
    assert second.inner is first


def test_one_that_can_t_be_loaded_ends_the_start_by_name() -> None:
    with pytest.raises(BadExtension) as raised:
        made(ImportError("no 'Homes' in 'noetl_api_gateway'"))

    assert raised.value.message == (
        "the front of the edge 'front0' of some_package.front:create can't be used: "
        "ImportError: no 'Homes' in 'noetl_api_gateway'"
    )


def test_an_existing_server_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(settings_module, "entry_points", lambda **named: asked.append(named) or ())

    with pytest.raises(ValidationError, match="NOETL_LEGACY_URL needs the package noetl-migrate"):
        Settings(legacy_url="http://noetl:8082")
    Settings()

    assert asked == [{"group": FRONTS, "name": "legacy"}]

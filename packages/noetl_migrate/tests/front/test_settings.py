"""Routes that the existing server answers, and settings without sense."""

from importlib.metadata import entry_points

import pytest
from litestar import Litestar
from noetl_api_gateway.fronts import fronts_of
from noetl_api_gateway.gateway import GatewayProcess
from noetl_api_gateway.http.shell import Receive, Scope, Send
from noetl_api_gateway.settings import FRONTS, Settings
from noetl_migrate.front.front import create
from noetl_migrate.front.settings import parsed_routes
from noetl_migrate.front.switch import Switch
from pydantic import SecretStr


async def unreached(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(scope, receive, send)


async def test_the_edge_finds_it_by_its_entry_point_and_where_a_server_is_named() -> None:
    found = entry_points(group=FRONTS)
    named = Settings(nats_url=SecretStr("nats://x:4222"), legacy_url="http://noetl:8082")
    alone = Settings(nats_url=SecretStr("nats://x:4222"))

    (front,) = fronts_of(unreached, Litestar(), GatewayProcess(named), found=found)
    await front.aclose()

    assert isinstance(front, Switch)
    assert fronts_of(unreached, Litestar(), GatewayProcess(alone), found=found) == []


def test_patterns_say_method_and_path() -> None:
    routes = parsed_routes("/api/catalog/*, post /api/execute ,GET *")

    def match(method: str, path: str) -> bool:
        return any(one.matches(method, path) for one in routes)

    assert match("POST", "/api/catalog/list")
    assert match("POST", "/api/execute")
    assert not match("POST", "/api/execute/batch")
    assert not match("PUT", "/api/result/1")
    assert match("GET", "/api/anything")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"legacy_routes": "*"}, "NOETL_LEGACY_ROUTES needs NOETL_LEGACY_URL"),
        ({"legacy_url": "noetl:8082"}, "NOETL_LEGACY_URL must be like"),
        ({"legacy_url": "http://me:secret@noetl"}, "must hold no login"),
        ({"legacy_url": "http://noetl/api"}, "must have no path"),
        ({"legacy_url": "http://noetl", "legacy_routes": "/console"}, "no path below /api/"),
        ({"legacy_url": "http://noetl", "legacy_routes": "FETCH /api/x"}, "begins with no method"),
    ],
)
def test_wrong_settings_end_the_start_of_an_edge(
    fields: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fields.items():
        monkeypatch.setenv(f"NOETL_{name.upper()}", value)
    settings = Settings(nats_url=SecretStr("nats://x:4222"))

    with pytest.raises(ValueError, match=text):
        create(unreached, Litestar(), GatewayProcess(settings))

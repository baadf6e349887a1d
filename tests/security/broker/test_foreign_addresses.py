"""A notification names an address of the attacker: the worker's own token never goes there."""

import base64

import pytest
from noetl_testkit.web import Response, WebServer, serving
from noetl_worker.control_plane.edge import Edge, open_edge
from noetl_worker.settings import Settings

_TOKEN = "the token of the internal routes"


async def _both_calls(edge: Edge, base: str) -> None:
    await edge.call("POST", "/api/events", b"{}", base=base)
    await edge.call("GET", "/api/credentials/pg", None, base=base, most=1000, seconds=10)


def _logins(server: WebServer) -> set[str | None]:
    return {request.headers.get("authorization") for request in server.requests}


@pytest.fixture
def settings() -> Settings:
    return Settings(server_url="http://127.0.0.1:9", internal_api_token=_TOKEN)


async def test_a_foreign_address_gets_no_token(settings: Settings) -> None:
    with serving(lambda _request: Response({})) as foreign:
        async with open_edge(settings) as edge:
            await _both_calls(edge, foreign.url)

    assert _logins(foreign) == {None}


async def test_the_configured_address_gets_it(settings: Settings) -> None:
    with serving(lambda _request: Response({})) as own:
        chosen = settings.model_copy(update={"server_url": own.url})
        async with open_edge(chosen) as edge:
            await _both_calls(edge, f"{own.url}/")

    assert _logins(own) == {f"Bearer {_TOKEN}"}


@pytest.mark.parametrize("place", ["configured", "foreign"])
async def test_the_capability_of_a_command_goes_in_place_of_the_token(
    settings: Settings, place: str
) -> None:
    with serving(lambda _request: Response({})) as server:
        own = {"server_url": server.url} if place == "configured" else {}
        chosen = settings.model_copy(update=own)
        address = server.url.replace("//", "//7.1:1.secret@")
        async with open_edge(chosen) as edge:
            await _both_calls(edge, address)

    assert _logins(server) == {f"Basic {base64.b64encode(b'7.1:1.secret').decode()}"}

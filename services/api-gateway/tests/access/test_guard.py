"""Every route with every role: admitted or refused, and with which status."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import ROLE_RIGHTS, Right, Role

from ..conftest import EXECUTION_ID, World
from .callers import INTERNAL, KEYS, bearer, command_login, guarded_world
from .routes import all_routes

ROUTES = sorted({(method, path, one.opt["needs"]) for method, path, one in all_routes()})
EVENT_ID = 325077236516646912


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    async with guarded_world(nats_url) as made:
        yield made


def address(path: str) -> str:
    """Fill the parameters of a route."""
    filled = path.replace("{execution_id}", str(EXECUTION_ID)).replace("{event_id}", str(EVENT_ID))
    return re.sub(r"{\w+}", "7", filled)


async def send_all(
    world: World, **options: object
) -> list[tuple[tuple[str, str, Right], httpx.Response]]:
    """Send each route a request, some at once."""
    places = asyncio.Semaphore(8)

    async def one(route: tuple[str, str, Right]) -> httpx.Response:
        async with places:
            return await send(world, route[0], route[1], **options)

    return list(zip(ROUTES, await asyncio.gather(*map(one, ROUTES)), strict=True))


async def send(world: World, method: str, path: str, **options: object) -> httpx.Response:
    return await world.client.request(method, address(path), **options)  # type: ignore[arg-type]


async def test_nobody_gets_past_a_route_that_is_not_public(world: World) -> None:
    for (method, path, right), answer in await send_all(world):
        assert (answer.status_code == 401) == (right is not Right.PUBLIC), (method, path)
        if right is not Right.PUBLIC:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert set(answer.json()) == {"error", "status", "detail"}


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_gets_past_the_routes_of_its_rights_only(world: World, role: Role) -> None:
    rights = ROLE_RIGHTS[role] | {Right.PUBLIC}
    for (method, path, right), answer in await send_all(world, headers=bearer(KEYS[role])):
        assert answer.status_code != 401, (method, path)
        needs = f"The right `{right}` is missing"
        is_refused = answer.status_code == 403 and answer.json()["error"] == needs
        assert is_refused == (right not in rights), (method, path, answer.text)


async def test_a_command_gets_past_the_routes_of_its_rights_only(world: World) -> None:
    command = Principal(name="c", kind="capability", execution_id=EXECUTION_ID, event_id=EVENT_ID)
    login = command_login(EXECUTION_ID, EVENT_ID)
    for (method, path, right), answer in await send_all(world, auth=login):
        needs = f"The right `{right}` is missing"
        is_refused = answer.status_code == 403 and answer.json()["error"] == needs
        assert is_refused == (not command.may(right)), (method, path, answer.text)


async def test_the_internal_token_is_the_system(world: World) -> None:
    pending = await world.get("/api/internal/outbox/pending-count", **bearer(INTERNAL))
    secret = await world.get("/api/credentials/x?include_data=true", **bearer(INTERNAL))

    assert pending.status_code not in {401, 403}
    assert (secret.status_code, secret.json()["error"]) == (
        403,
        "The right `secrets.read` is missing",
    )


async def test_the_guard_decides_before_the_body_is_read(world: World) -> None:
    answer = await world.client.post("/api/catalog/register", content=b"{" * 100)
    viewer = await world.client.post(
        "/api/catalog/register", content=b"{" * 100, headers=bearer(KEYS[Role.VIEWER])
    )

    assert (answer.status_code, viewer.status_code) == (401, 403)
    assert world.backend.requests("register") == []

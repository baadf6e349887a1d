"""Tokens of an issuer: asked for once over all catalogs, shared, renewed, and never a stampede."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qs

import orjson
import pytest
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually

from services.catalog.tests.providers.provider_server import Clouds, running_clouds
from services.catalog.tests.world import CANARY, World, open_world

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: shop, path: demo/shop}
keychain:
- {name: app, credential: shop_app}
- name: shop
  kind: oauth2
  endpoint: "@/token"
  headers: {X-Tenant: "7"}
  data:
    client_id: "{{ keychain.app.id }}"
    client_secret: "{{ keychain.app.key }}"
    audience: shop
- name: basic
  kind: oauth2
  endpoint: "@/token"
  credential: client
  client_auth: basic
  scope: "a b"
- {name: own, kind: oauth2, endpoint: "@/{{ tenant }}/token", credential: client, scope: local}
- {name: tenant, kind: oauth2, endpoint: "@/{{ workload.tenant }}/token", credential: client}
- {name: chained, kind: oauth2, endpoint: "@/token", data: {x: "{{ keychain.shop.access_token }}"}}
- {name: typo, kind: oauth2, endpoint: "@/token", data: {x: "{{ keychain.app.kye }}"}}
- {name: hung, kind: oauth2, endpoint: "%"}
workflow:
- step: start
  tool: {kind: noop}
"""
SHOP, EXECUTION = "/token", 100


@pytest.fixture(scope="module")
def server() -> Iterator[Clouds]:
    with running_clouds() as clouds:
        yield clouds


@pytest.fixture
def clouds(server: Clouds) -> Clouds:
    server.answers.clear()
    server.calls.clear()
    server.answer(SHOP, token(CANARY))
    return server


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """Address of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/token"


def token(text: str, **more: Json) -> JsonObject:
    return {"access_token": text, "token_type": "Bearer", "expires_in": 3600, **more}


@asynccontextmanager
async def catalogs(
    database: Database,
    nats_url: str,
    clouds: Clouds,
    *,
    many: int = 1,
    hung: str = "",
    **more: Json,
) -> AsyncIterator[World]:
    """Run some catalogs on one database and broker; the world is that of the first."""
    async with AsyncExitStack() as stack:
        worlds = [
            await stack.enter_async_context(open_world(database, nats_url, **more))
            for _ in range(many)
        ]
        world = worlds[0]
        for other in worlds[1:]:
            other.executions = world.executions
        await world.ok(
            "credential.create",
            name="shop_app",
            type="generic",
            data={"id": "app", "key": "a secret"},
        )
        await world.ok(
            "credential.create",
            name="client",
            type="generic",
            data={"client_id": "c/1", "client_secret": "s:2"},
        )
        content = PLAYBOOK.replace("@", clouds.url).replace("%", hung or clouds.url)
        catalog_id = int((await world.ok("register", content=content))["catalog_id"])
        for number in range(20):
            world.executions[EXECUTION + number] = ExecutionOrigin(
                catalog_id=catalog_id, workload={"tenant": f"t{number % 2}"}
            )
        yield world


async def use(world: World, alias: str, number: int = 0) -> Json:
    return await world.ok(
        "credential.get", identifier=alias, include_data=True, execution_id=EXECUTION + number
    )


async def refused(world: World, alias: str, number: int = 0) -> tuple[int, str]:
    reply = await world.ask(
        "credential.get", identifier=alias, include_data=True, execution_id=EXECUTION + number
    )
    return reply.status, reply.error or ""


async def test_many_uses_of_a_token_that_ends_soon_ask_the_issuer_once(
    database: Database, nats_url: str, clouds: Clouds
) -> None:
    """Over several catalogs and executions: first without any token, then near its end.

    A thousand at once, over processes of their own, are `make renewals`.
    """
    async with catalogs(database, nats_url, clouds, many=2) as world:
        first = await asyncio.gather(*(use(world, "shop", n % 20) for n in range(60)))
        asked = clouds.count(SHOP)
        clouds.answer(SHOP, token("fresh-token"))
        await world.pool.execute(
            "UPDATE noetl.keychain SET expires_at = now() + interval '30 seconds'"
        )
        uses = await asyncio.gather(*(use(world, "shop", n % 20) for n in range(120)))

        async def is_renewed() -> bool:
            return (await use(world, "shop"))["data"]["access_token"] == "fresh-token"

        await eventually(is_renewed, what="the new token is given out")
        rows = await world.pool.fetch("SELECT cache_key, scope_type FROM noetl.keychain")

        async def has_no_leases() -> bool:
            leases = await world.pool.fetchval("SELECT count(*) FROM noetl.keychain_renewal")
            return bool(leases == 0)

        # The token is stored before its lease ends.
        await eventually(has_no_leases, what="no lease is left")

    assert asked == 1
    assert {one["data"]["access_token"] for one in first} == {CANARY}
    assert {one["data"]["access_token"] for one in uses} <= {CANARY, "fresh-token"}
    assert clouds.count(SHOP) == 2
    assert [row["scope_type"] for row in rows] == ["global"]


async def test_what_the_issuer_is_asked(database: Database, nats_url: str, clouds: Clouds) -> None:
    clouds.answer("/t0/token", token("zero"))
    clouds.answer("/t1/token", token("one", expires_in=20))
    async with catalogs(database, nats_url, clouds) as world:
        shop, _ = await use(world, "shop"), await use(world, "basic")
        tenants = [await use(world, "tenant", number) for number in range(4)]
        own = [await use(world, "own", number) for number in (0, 0, 2)]
        left = await world.pool.fetchval(
            "SELECT min(extract(epoch FROM expires_at - now()))::float8 FROM noetl.keychain"
        )

    asked, by_basic = clouds.calls[:2]
    assert (shop["type"], shop["data"]) == ("bearer", token(CANARY))
    assert asked.method == "POST"
    assert asked.headers["x-tenant"] == "7"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"], "client_id": ["app"],
        "client_secret": ["a secret"], "audience": ["shop"],
    }  # fmt: skip
    assert by_basic.headers["authorization"] == "Basic YyUyRjE6cyUzQTI="
    assert parse_qs(by_basic.body.decode()) == {
        "grant_type": ["client_credentials"], "scope": ["a b"],
    }  # fmt: skip
    assert [one["data"]["access_token"] for one in tenants] == ["zero", "one", "zero", "one"]
    assert [one["data"]["access_token"] for one in own] == ["zero"] * 3
    # Also one of a short life is shared, and given out for most of it.
    assert (clouds.count("/t0/token"), clouds.count("/t1/token")) == (3, 1)
    assert 0 < left <= 18


FAILURES: tuple[tuple[int, Json, str], ...] = (
    (500, {"error": "no"}, 'HTTP 500 {"error":"no"}'),
    (200, b"<html>", "the answer is not JSON"),
    (200, [], "the answer is not a JSON object"),
    (200, {"token": CANARY}, "the answer has no access_token"),
    (200, token(CANARY, expires_in="soon"), "expires_in is no number of seconds above 0"),
    (200, token(CANARY, expires_in=0), "expires_in is no number of seconds above 0"),
)


async def test_an_issuer_that_fails_is_left_alone_for_a_while(
    database: Database, nats_url: str, clouds: Clouds
) -> None:
    async with catalogs(database, nats_url, clouds, keychain_retry_seconds=3.0) as world:
        for number, (status, answer, text) in enumerate(FAILURES):
            clouds.answer("/t0/token", answer, status=status)
            uses = (refused(world, "own", 2 * number) for _ in range(8))
            failures = await asyncio.gather(*uses)
            assert clouds.count("/t0/token") == number + 1
            assert all(one[0] == 502 and text in one[1] for one in failures), failures[:2]
            assert {one[1][:34] for one in failures} == {"keychain secret provider 'oauth2': "[:34]}
            assert CANARY not in str(failures)
        clouds.answer("/t0/token", token("fresh-token"))

        async def is_had() -> bool:
            return (await refused(world, "own"))[0] == 200

        await eventually(is_had, what="the issuer is asked again after the pause")


async def test_an_issuer_that_hangs_and_a_catalog_that_died_hold_nobody_up(
    database: Database, nats_url: str, clouds: Clouds, silent: str
) -> None:
    async with catalogs(
        database, nats_url, clouds, hung=silent, keychain_renewal_seconds=0.5
    ) as world:
        hung = await asyncio.gather(*(refused(world, "hung") for _ in range(50)))
    async with catalogs(database, nats_url, clouds) as world:
        key = f"shop:{world.executions[EXECUTION].catalog_id}:global"
        await world.pool.execute(
            "INSERT INTO noetl.keychain_renewal (cache_key, holder, held_until)"
            " VALUES ($1, 'dead', now() + interval '300 milliseconds')",
            key,
        )
        taken_over = await use(world, "shop")

    assert all(one[0] == 502 for one in hung)
    assert {one[1].partition(" (asked")[0] for one in hung} == {
        "keychain: no answer for 'hung' in 0.4 seconds"
    }
    assert taken_over["data"]["access_token"] == CANARY


async def test_what_no_token_is_asked_for(
    database: Database, nats_url: str, clouds: Clouds
) -> None:
    port = clouds.url.rpartition(":")[2]
    granted = {"demo/": [f"oauth2:http:127.0.0.1:{port}/t1/*"]}
    async with catalogs(database, nats_url, clouds) as world:
        await world.ok(
            "credential.create",
            name="client",
            type="generic",
            data={},
            allowed_hosts=["elsewhere.example"],
        )
        chained, typo, host = [await refused(world, name) for name in ("chained", "typo", "basic")]
    async with catalogs(
        database, nats_url, clouds, keychain_references=orjson.dumps(granted).decode()
    ) as world:
        not_granted = await refused(world, "shop")

    text = "keychain entry 'chained', map key 'endpoint': it names 'shop', which is a token"
    assert chained == (500, text)
    assert typo[0] == 500
    assert "the entry 'app' of the keychain has no field 'kye'" in typo[1]
    assert host == (403, "Credential 'client' may not be used at '127.0.0.1'")
    assert not_granted[0] == 403
    assert f"may not ask provider 'oauth2' for 'http:127.0.0.1:{port}/token'" in not_granted[1]
    assert clouds.calls == []

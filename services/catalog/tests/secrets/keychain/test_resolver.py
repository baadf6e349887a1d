"""Aliases of playbooks, resolved by providers: cached, renewed, locked to regions."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from noetl_catalog.secrets.keychain.cache import cache_seconds
from noetl_catalog.secrets.keychain.definition import Definition
from noetl_catalog.secrets.keychain.residency import decide_residency
from noetl_catalog.secrets.settings import SecretSettings
from noetl_common.crypto.sealed import SealingKey
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually
from prometheus_client import REGISTRY

from services.catalog.tests.providers.provider_server import Clouds, running_clouds
from services.catalog.tests.world import CANARY, World, open_world

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello}
keychain:
- {name: whole, provider: gcp}
- name: mapped
  provider: vault
  map: {user: "{{ place }}/a#user", plain: "kv/a#password"}
- {name: broken, provider: vault, map: {x: "{{ place | nonsense }}"}}
- {name: token, provider: azure_oauth, map: {bearer: ""}}
- {name: short, provider: azure_oauth}
- {name: missing, provider: gcp}
- {name: indirect, credential: pg}
- {name: stored, kind: google_id_token, credential: pg}
- {name: locked, provider: gcp, region: eu-central-1, residency: strict}
- name: allowed
  provider: gcp
  region: eu-central-1
  residency: strict
  allowed_regions: [us-east-1]
workflow:
- step: start
  tool: {kind: noop}
"""
EXECUTION = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Clouds]:
    with running_clouds() as clouds:
        yield clouds


@pytest.fixture
def clouds(server: Clouds, monkeypatch: pytest.MonkeyPatch) -> Clouds:
    server.answers.clear()
    server.calls.clear()
    for name, value in {
        "NOETL_GCP_SM_ENDPOINT": server.url,
        "NOETL_GCP_METADATA_TOKEN_URL": f"{server.url}/token",
        "GOOGLE_CLOUD_PROJECT": "p",
        "VAULT_ADDR": server.url,
        "VAULT_TOKEN": "vt",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_ID": "app",
        "AZURE_CLIENT_SECRET": "as",
        "NOETL_AZURE_AAD_HOST": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    server.answer("/token", {"access_token": "own"})
    for name in ("whole", "locked", "allowed"):
        data = base64.b64encode(CANARY.encode()).decode()
        server.answer(secret_path(name), {"payload": {"data": data}})
    server.answer("/v1/kv/data/a", {"data": {"data": {"user": "u", "password": CANARY}}})
    server.answer("/tenant/oauth2/v2.0/token", {"access_token": CANARY, "expires_in": 3600})
    return server


def secret_path(name: str) -> str:
    return f"/projects/p/secrets/{name}/versions/latest:access"


async def prepare(world: World) -> None:
    catalog_id = int((await world.ok("register", content=PLAYBOOK))["catalog_id"])
    world.executions[EXECUTION] = ExecutionOrigin(catalog_id=catalog_id, workload={"place": "kv"})
    world.executions[EXECUTION + 1] = ExecutionOrigin(catalog_id=catalog_id, workload=None)


@pytest.fixture
async def world(database: Database, nats_url: str, clouds: Clouds) -> AsyncIterator[World]:
    assert clouds.url
    async with open_world(database, nats_url, server_region="us-east-1") as opened:
        await prepare(opened)
        yield opened


async def resolve(world: World, alias: str, execution_id: int | None = EXECUTION) -> Json:
    return await world.ok(
        "credential.get", identifier=alias, include_data=True, execution_id=execution_id
    )


def refreshes(outcome: str) -> float:
    name, labels = "noetl_secret_refresh_total", {"outcome": outcome}
    return REGISTRY.get_sample_value(name, labels) or 0


async def refusal(world: World, alias: str, **request: Json) -> tuple[int, str | None]:
    reply = await world.ask("credential.get", identifier=alias, include_data=True, **request)
    return reply.status, reply.error


async def test_alias_is_resolved_once_and_cached_encrypted(world: World, clouds: Clouds) -> None:
    first, *others = await asyncio.gather(*(resolve(world, "whole") for _ in range(5)))
    again = await resolve(world, "whole")
    mapped = await resolve(world, "mapped")
    elsewhere = await resolve(world, "whole", EXECUTION + 1)

    assert {name: first[name] for name in ("id", "name", "type", "description", "data")} == {
        "id": "0",
        "name": "whole",
        "type": "keychain",
        "description": "resolved from keychain provider",
        "data": CANARY,
    }
    assert set(first) == {"id", "name", "type", "description", "data", "created_at", "updated_at"}
    assert all(other["data"] == CANARY for other in (*others, again, elsewhere))
    assert mapped["data"] == {"user": "u", "plain": CANARY}
    assert clouds.count(secret_path("whole")) == 2
    rows = await world.pool.fetch(
        "SELECT keychain_name, scope_type, execution_id, data_encrypted,"
        " expires_at - now() AS left FROM noetl.keychain ORDER BY 1, 3"
    )
    assert [(row["keychain_name"], row["execution_id"]) for row in rows] == [
        ("mapped", EXECUTION),
        ("whole", EXECUTION),
        ("whole", EXECUTION + 1),
    ]
    assert all(row["scope_type"] == "local" for row in rows)
    assert all(timedelta(minutes=9) < row["left"] <= timedelta(minutes=10) for row in rows)
    assert all(CANARY not in row["data_encrypted"] for row in rows)
    assert (await world.audited(credential="whole")).count(("resolve_keychain", "ok")) == 2


async def test_an_entry_may_name_a_stored_credential(world: World) -> None:
    missing = await refusal(world, "indirect", execution_id=EXECUTION)
    await world.ok("credential.create", name="pg", type="bearer", data={"token": CANARY})
    found = await resolve(world, "indirect")
    await world.ok(
        "credential.create", name="pg", type="bearer", data={}, allowed_paths=["elsewhere/"]
    )
    refused = await refusal(world, "indirect", execution_id=EXECUTION)

    problem = "keychain entry 'indirect' names the credential 'pg', which isn't stored"
    assert missing == (422, problem)
    assert isinstance(found, dict)
    assert (found["name"], found["type"], found["data"]) == ("pg", "bearer", {"token": CANARY})
    assert refused == (403, "Credential 'pg' may not be used in 'demo/hello'")


async def test_an_entry_without_a_source_is_what_is_stored_for_the_playbook(world: World) -> None:
    catalog_id = world.executions[EXECUTION].catalog_id
    value = {"access_token": CANARY}
    for name in ("stored", "unknown"):
        await world.ok("keychain.put", catalog_id=catalog_id, keychain_name=name, data=value)

    found = await resolve(world, "stored")

    assert isinstance(found, dict)
    assert found["data"] == value
    assert (await refusal(world, "unknown", execution_id=EXECUTION))[0] == 404


async def test_what_cannot_be_resolved(world: World, clouds: Clouds) -> None:
    nothing = {
        "unknown": await refusal(world, "unknown", execution_id=EXECUTION),
        "stored": await refusal(world, "stored", execution_id=EXECUTION),
        "whole": await refusal(world, "whole"),
        "mapped": await refusal(world, "mapped", execution_id=999),
    }
    missing = await refusal(world, "missing", execution_id=EXECUTION)
    broken = await refusal(world, "broken", execution_id=EXECUTION)

    assert nothing == {name: (404, f"Credential '{name}' not found") for name in nothing}
    assert missing[0] == 502
    assert (missing[1] or "").startswith("keychain secret provider 'gcp': HTTP 404")
    assert (broken[0], (broken[1] or "")[:38]) == (500, "keychain entry 'broken', map key 'x': ")
    assert clouds.count(secret_path("whole")) == 0
    audited = dict.fromkeys(await world.audited())
    assert list(audited) == [
        ("get_credential", "credential_not_found"),
        ("get_credential", "provider_fetch_error"),
        ("get_credential", "template_error"),
    ]


async def test_an_unknown_provider_is_refused_at_registration(world: World) -> None:
    reply = await world.ask("register", content=PLAYBOOK.replace("vault", "valut"))

    text = (
        "keychain entry 'mapped': unsupported keychain secret provider 'valut' (supported: gcp,"
        " gcp_iam, k8s, vault, aws, aws_sts, azure, azure_oauth, oauth2)"
    )
    assert (reply.status, reply.error) == (422, text)


async def test_token_is_renewed_before_it_expires(world: World, clouds: Clouds) -> None:
    triggered, failed = refreshes("triggered"), refreshes("failed")
    assert (await resolve(world, "short"))["data"] == CANARY
    stored = await world.pool.fetchval("SELECT expires_at - now() FROM noetl.keychain")
    assert timedelta(minutes=59) < stored <= timedelta(hours=1)
    path = "/tenant/oauth2/v2.0/token"
    clouds.answer(path, {"access_token": "fresh", "expires_in": 3600})
    await world.pool.execute("UPDATE noetl.keychain SET expires_at = now() + interval '30 seconds'")

    seen = [(await resolve(world, "short"))["data"]]

    async def is_renewed() -> bool:
        seen.append((await resolve(world, "short"))["data"])
        return seen[-1] == "fresh"

    await eventually(is_renewed, what="the new token is kept")
    assert seen[0] == CANARY
    assert clouds.count(path) == 2
    # A use that has seen the old token may look once more, and finds the new one.
    assert refreshes("triggered") >= triggered + 1

    await world.pool.execute("UPDATE noetl.keychain SET expires_at = now() + interval '30 seconds'")
    clouds.answer(path, {"error": "no"}, status=500)
    assert (await resolve(world, "short"))["data"] == "fresh"

    async def has_failed() -> bool:
        return refreshes("failed") == failed + 1

    await eventually(has_failed, what="the renewal has failed")
    assert (await resolve(world, "short"))["data"] == "fresh"


async def test_token_about_to_expire_is_not_cached(world: World, clouds: Clouds) -> None:
    path = "/tenant/oauth2/v2.0/token"
    clouds.answer(path, {"access_token": "brief", "expires_in": 30})

    assert (await resolve(world, "token"))["data"] == {"bearer": "brief"}
    assert (await resolve(world, "token"))["data"] == {"bearer": "brief"}

    assert clouds.count(path) == 2
    assert await world.pool.fetchval("SELECT count(*) FROM noetl.keychain") == 0


async def test_strict_residency_blocks_before_the_provider_is_asked(
    world: World, clouds: Clouds
) -> None:
    await world.ok(
        "runtime.register",
        name="w-1",
        kind="worker_pool",
        runtime={"worker_public_key": SealingKey().public},
    )
    text = (
        "Residency violation: credential 'locked' is region-locked to 'eu-central-1';"
        " this server is in 'us-east-1'"
    )
    sealed = await world.ask(
        "credential.sealed", identifier="locked", worker_id="w-1", execution_id=EXECUTION
    )

    assert await refusal(world, "locked", execution_id=EXECUTION) == (403, text)
    assert (sealed.status, sealed.error) == (403, text)
    assert clouds.calls == []
    assert (await resolve(world, "allowed"))["data"] == CANARY
    assert ("get_sealed", "residency_violation") in await world.audited()


async def test_another_region_seals_for_our_worker(
    database: Database, nats_url: str, clouds: Clouds
) -> None:
    key = SealingKey()
    broker = f"{clouds.url}/eu"
    path = "/eu/api/internal/cross-region/resolve"
    async with open_world(
        database,
        nats_url,
        server_region="us-east-1",
        secret_broker_registry=orjson.dumps({"eu-central-1": f"{broker}/", "x": ""}).decode(),
        internal_api_token="peer",
    ) as here:
        await prepare(here)
        await here.ok(
            "runtime.register",
            name="w-1",
            kind="worker_pool",
            runtime={"worker_public_key": key.public},
        )
        asked = {"identifier": "locked", "worker_id": "w-1", "execution_id": EXECUTION}
        failures = []
        for status, body in ((404, {"error": "x"}), (200, {"alg": CANARY})):
            clouds.answer(path, body, status=status)
            reply = await here.ask("credential.sealed", **asked)
            failures.append((reply.status, reply.error))
        request = orjson.loads(clouds.calls[-1].body)
        token = clouds.calls[-1].headers["authorization"]
        # The answer of the peer, made by the service itself in the place of that region.
        there = request | {"expected_entry_region": "us-east-1", "alias": "whole"}
        envelope = await here.ok("credential.cross_region", **there)
        clouds.answer(path, envelope)
        relayed = await here.ok("credential.sealed", **asked)
        refused = [
            await here.ask("credential.cross_region", **request),
            await here.ask("credential.cross_region", **there | {"worker_public_key_b64": "!"}),
            await here.ask("credential.cross_region", **there | {"worker_public_key_b64": "AA=="}),
            await here.ask("credential.cross_region", **there | {"alias": "unknown"}),
        ]
        audited = await here.audited(credential="locked")

    text = f"Cross-region broker {broker} unreachable: "
    assert failures[0] == (502, f'{text}broker returned HTTP 404: {{"error":"x"}}')
    assert failures[1] == (502, f"{text}decode broker response: Field required")
    assert token == "Bearer peer"
    assert request == {
        "alias": "locked",
        "worker_public_key_b64": key.public,
        "worker_id": "w-1",
        "execution_id": EXECUTION,
        "parent_execution_id": None,
        "expected_entry_region": "eu-central-1",
        "requesting_region": "us-east-1",
    }
    assert relayed == envelope
    assert orjson.loads(key.open(relayed))["data"] == CANARY
    assert [(reply.status, (reply.error or "")[:60]) for reply in refused] == [
        (403, "cross-region broker: this server is in region 'us-east-1', n"),
        (400, "cross-region: invalid worker_public_key_b64: base64 decode: "),
        (400, "cross-region: invalid worker_public_key_b64: expected 32 byt"),
        (404, "Credential 'unknown' not found"),
    ]
    assert audited == [
        ("get_sealed", "residency_violation"),
        ("get_sealed", "broker_unreachable"),
        ("get_sealed", "residency_violation"),
        ("get_sealed", "broker_unreachable"),
        ("get_sealed", "residency_violation"),
        ("get_sealed", "ok"),
        ("cross_region_broker_serve", "wrong_region"),
    ]


@pytest.mark.parametrize(
    ("entry", "region", "decision"),
    [
        ({}, "us", ("none", "allowed_no_policy")),
        ({"residency": "strict"}, "", ("strict", "allowed_no_policy")),
        ({"residency": "strict"}, "us", ("strict", "allowed_same_region")),
        ({"residency": "none", "region": "eu"}, "us", ("none", "allowed_no_policy")),
        ({"residency": "strict", "region": "eu"}, "eu", ("strict", "allowed_same_region")),
        (
            {"residency": "strict", "region": "eu", "allowed_regions": ["us"]},
            "us",
            ("strict", "allowed_in_allowlist"),
        ),
        (
            {"residency": "strict", "region": "eu", "allowed_regions": [""]},
            "",
            ("strict", "violation_blocked"),
        ),
        ({"residency": "advisory", "region": "eu"}, "us", ("advisory", "violation_allowed")),
        ({"residency": "strict", "region": "eu"}, "us", ("strict", "violation_blocked")),
    ],
)
def test_residency_table(entry: JsonObject, region: str, decision: tuple[str, str]) -> None:
    read = Definition.read({"provider": "gcp"} | entry)

    assert (read.policy, decide_residency(read, server_region=region)) == decision


def test_values_of_another_type_count_as_absent() -> None:
    odd = {"name": None, "map": [], "residency": ["strict"], "region": 5, "allowed_regions": "us"}

    assert Definition.read(odd) == Definition()
    assert Definition.read(odd | {"provider": "gcp", "credential": "x"}) == Definition(
        provider="gcp"
    )


@pytest.mark.parametrize(
    ("left", "kept"), [(None, 600), (30, None), (60, None), (62, 5), (300, 240), (7200, 600)]
)
def test_how_long_a_secret_is_cached(left: float | None, kept: float | None) -> None:
    now = datetime.now(UTC)
    expires_at = None if left is None else now + timedelta(seconds=left)

    assert cache_seconds(expires_at, now=now, settings=SecretSettings()) == kept

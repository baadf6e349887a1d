"""Shards, the runtime contract, the process's figures, and the description."""

import json
import os

import pytest
from noetl_contract.documents.asyncapi import asyncapi_document
from noetl_contract.http.catalog import entries as catalog
from noetl_contract.http.executions import variables
from noetl_contract.http.system import dashboard, database
from noetl_contract.http.system.process import StatusAnswer
from noetl_contract.http.workers import runtimes as runtime
from noetl_contract.rpc import RpcReply
from pydantic import BaseModel

from ...conftest import World, make_world

QUERY = "Failed to deserialize query string: "


async def test_shards_are_told_in_two_shapes(nats_url: str) -> None:
    # The vectors of shards, through the query string.
    vectors = [(42, 16, 3), (-1, 1024, 713), (9007199254740993, 1024, 614), (5, 1, 0)]
    async with make_world(nats_url, shard_index=1, shard_count=3) as world:
        for number, count, index in vectors:
            query = f"?execution_id={number}&shard_count={count}"
            info = await world.get(f"/api/runtime/shard-info{query}", Origin="http://localhost")
            preview = await world.get(f"/sharding/preview{query}")

            expected = {
                "execution_id": number,
                "shard_count": count,
                "shard_index": index,
                "source": "noetl-gateway",
                "hash_function": "twox_hash::XxHash64",
                "seed": 0,
            }
            assert preview.text == json.dumps(expected, separators=(",", ":"))
            config = {"server_config": {"shard_index": 1, "shard_count": 3}}
            assert info.json() == expected | {"source": "noetl-server"} | config
            assert list(info.json()) == [*expected, "server_config"]


async def test_shard_queries_are_refused_in_order(world: World, subtests: pytest.Subtests) -> None:
    rows = [
        ("", QUERY + "missing field `execution_id`"),
        ("?execution_id=1", QUERY + "missing field `shard_count`"),
        ("?execution_id=x&shard_count=-1", QUERY + "shard_count: invalid digit found in string"),
        (
            "?execution_id=1&shard_count=",
            QUERY + "shard_count: cannot parse integer from empty string",
        ),
        (
            "?execution_id=1&shard_count=4294967296",
            QUERY + "shard_count: number too large to fit in target type",
        ),
        ("?execution_id=abc&shard_count=0", 'execution_id "abc" is not a valid i64'),
        ("?execution_id=&shard_count=0", 'execution_id "" is not a valid i64'),
        ("?execution_id=a%22b&shard_count=2", 'execution_id "a\\"b" is not a valid i64'),
        ("?execution_id=+1&shard_count=2", 'execution_id " 1" is not a valid i64'),
        (
            "?execution_id=9223372036854775808&shard_count=2",
            'execution_id "9223372036854775808" is not a valid i64',
        ),
        ("?execution_id=1&shard_count=0", "shard_count must be >= 1"),
        ("?execution_id=1&shard_count=1025", "shard_count 1025 exceeds practical maximum 1024"),
    ]
    for path in ("/api/runtime/shard-info", "/sharding/preview"):
        for query, text in rows:
            with subtests.test(path + query):
                answer = await world.get(path + query)
                body = {"error": text, "status": 400, "detail": text}
                assert (answer.status_code, answer.json()) == (400, body)


async def test_contract_names_the_routes_that_there_are(world: World) -> None:
    body = (await world.get("/api/runtime/contract")).json()

    public = body["routes"]["public"]
    assert {
        "POST /api/execute",
        "GET /api/executions/{execution_id}",
        "POST /api/catalog/agents/list",
        "GET /api/vars/{execution_id}/{var_name}",
    } <= set(public)
    assert "auth0" not in body
    # What it advertises is served: each path matches a route.
    for path in body["cli_operation_mapping"].values():
        assert any(name.endswith(" /api" + path.removeprefix("/noetl")) for name in public), path


async def test_contract_names_the_login_provider_when_there_is_one(nats_url: str) -> None:
    async with make_world(
        nats_url, GATEWAY_AUTH0_DOMAIN="login.example", GATEWAY_AUTH0_CLIENT_ID="c"
    ) as world:
        body = (await world.get("/api/runtime/contract")).json()

    assert body["auth0"] == {"domain": "login.example", "client_id": "c"}


async def test_status_has_figures_of_this_process(world: World) -> None:
    await world.get("/api/status")
    body = (await world.get("/api/status")).json()

    StatusAnswer.model_validate(body, strict=True)
    assert list(body["system"]) == [
        "cpu_percent",
        "memory_percent",
        "total_memory_mb",
        "used_memory_mb",
        "available_memory_mb",
    ]
    assert list(body["process"]) == [
        "pid",
        "cpu_percent",
        "memory_rss_mb",
        "memory_vms_mb",
        "num_threads",
        "start_time",
        "uptime_seconds",
    ]
    assert body["process"]["pid"] == os.getpid()
    assert body["process"]["memory_vms_mb"] > body["process"]["memory_rss_mb"] > 10
    assert 0 < body["system"]["memory_percent"] < 100


async def test_threads_and_profiler_have_their_shapes(world: World) -> None:
    (thread,) = (await world.get("/api/threads")).json()
    status = (await world.get("/api/profiler/status")).json()
    start = (await world.client.post("/api/profiler/memory/start")).json()
    stop = (await world.client.post("/api/profiler/memory/stop")).json()

    assert list(thread) == ["thread_id", "name", "is_alive"]
    assert thread["is_alive"] is True
    assert status == {"is_profiling": False, "profiler_type": None, "message": status["message"]}
    assert (start["status"], stop["status"]) == ("info", "info")
    assert stop["message"] == "Memory profiling is not currently active"


RUNTIME = {
    "runtime_id": 383611777386247169,
    "name": "w-1",
    "kind": "worker_pool",
    "labels": {"runtime_id": 5},
    "runtime": {"execution_id": 7},
}


async def test_workers_leave_by_delete_and_by_post(world: World) -> None:
    """Real workers use POST, the contract says DELETE."""
    done = {"status": "ok", "message": "Runtime worker_pool w-1 deregistered"}
    world.backend.answer("runtime.deregister", done)
    world.backend.asked.clear()
    url = "/api/worker/pool/deregister"
    body = {"name": "w-1", "component_type": "worker_pool"}

    posted = await world.post(url, body)
    deleted = await world.client.request("DELETE", url, json=body)
    bare = await world.client.delete(url)
    world.backend.answer(
        "runtime.deregister", RpcReply(status=404, error="Runtime not found: worker_pool w-1")
    )
    unknown = await world.post(url, {"name": "w-1"})

    assert posted.json() == deleted.json() == done
    wanted = {"name": "w-1", "kind": "worker_pool"}
    assert world.backend.requests("runtime.deregister") == [wanted] * 3
    assert bare.status_code == 415
    text = "Runtime not found: worker_pool w-1"
    assert unknown.json() == {"error": text, "status": 404, "detail": text}


async def test_ids_of_runtimes_are_integers_except_for_browsers(world: World) -> None:
    world.backend.answer("runtime.register", RUNTIME)
    world.backend.answer("runtime.pools", [RUNTIME])

    registered = await world.post("/api/worker/pool/register", {"name": "w-1"})
    listed = await world.get("/api/worker/pools?name=w&status=ready&kind=worker_pool")
    in_browser = await world.get("/noetl/worker/pools")
    twice = await world.get("/api/worker/pools?name=w&name=x")

    assert registered.json() == RUNTIME
    assert listed.json() == [RUNTIME]
    assert in_browser.json() == [RUNTIME | {"runtime_id": "383611777386247169"}]
    assert world.backend.requests("runtime.pools") == [
        {"kind": "worker_pool", "status": "ready", "name": "w"},
        {"kind": "worker_pool"},
    ]
    assert (twice.status_code, twice.json()["error"]) == (400, QUERY + "duplicate field `name`")


async def test_health_has_the_contracts_keys_in_order(world: World) -> None:
    health = await world.get("/api/health")
    alias = await world.get("/noetl/health")
    world.backend.answer("pool.status", RpcReply(status=503, error="no"))
    pool = await world.get("/api/pool/status")

    assert list(health.json()) == ["status", "database", "nats", "uptime_seconds", "version"]
    assert list(alias.json()) == list(health.json())
    assert list(pool.json()) == [
        "pool_min",
        "pool_max",
        "pool_size",
        "pool_available",
        "requests_waiting",
        "utilization",
        "slots_available",
        "status",
    ]


async def test_metrics_are_in_the_text_format(world: World) -> None:
    answer = await world.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "noetl_http_requests_total" in answer.text


async def test_details_of_services_errors_repeat_the_text(world: World) -> None:
    refusal = RpcReply(status=422, error="no good", detail={"code": "x", "reason": "y"})
    world.backend.answer("vars.list", refusal)

    answer = await world.get("/api/vars/1")

    assert answer.json() == {"error": "no good", "status": 422, "detail": "no good"}


MODELS = [
    model
    for module in (catalog, dashboard, database, runtime, variables)
    for model in vars(module).values()
    if getattr(model, "__module__", "") == module.__name__
    if isinstance(model, type) and issubclass(model, BaseModel)
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_examples_are_what_they_describe(model: type[BaseModel]) -> None:
    for example in model.model_json_schema().get("examples", []):
        made = model.model_validate(example)
        assert (
            made.model_dump(exclude_unset=True, by_alias=True) | example
            == example | {"kind": example.get("kind", example.get("component_type"))}
            or made.model_dump(exclude_unset=True, by_alias=True) == example
        )


async def test_description_tells_of_queries_examples_and_refusals(world: World) -> None:
    paths = (await world.get("/schema/openapi.json")).json()["paths"]

    vars_get = paths["/api/vars/{execution_id}/{var_name}"]["get"]
    assert set(vars_get["responses"]) == {"200", "400", "404", "503"}
    missing = vars_get["responses"]["404"]["content"]["application/json"]["example"]
    assert missing["error"] == "Variable not found: user_id for execution 383611777386247168"
    shard = paths["/api/runtime/shard-info"]["get"]
    assert [one["name"] for one in shard["parameters"]] == ["execution_id", "shard_count"]
    assert shard["responses"]["200"]["content"]["application/json"]["example"]["shard_index"] == 3
    sql = paths["/api/postgres/execute"]["post"]
    assert "example" in sql["requestBody"]["content"]["application/json"]
    ours = ("catalog", "vars", "dashboard", "database", "runtime", "system", "sessions", "workers")
    described = [
        operation
        for item in paths.values()
        for operation in item.values()
        if isinstance(operation, dict) and set(operation.get("tags", [])) & set(ours)
    ]
    health = paths["/api/health"]["get"]["responses"]["503"]
    assert health["content"]["application/json"]["example"]["database"] == "connected"
    assert len(described) > 35
    assert all(one["summary"] and "503" in one["responses"] for one in described)


async def test_messages_are_described_as_an_asyncapi_document(world: World) -> None:
    answer = await world.get("/schema/asyncapi")
    again = await world.get("/schema/asyncapi")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["asyncapi"].startswith("3.")
    assert answer.json() == asyncapi_document() == again.json()


async def test_schemas_of_messages_are_there_by_name_and_version(world: World) -> None:
    names = (await world.get("/schema/messages/index.json")).json()["schemas"]
    event = await world.get("/schema/messages/event.v1.json")
    unknown = await world.get("/schema/messages/event.v9.json")

    assert {"event.v1.json", "command.v1.json"} <= set(names)
    assert event.json()["$id"] == "urn:noetl:schema:event:1"
    assert unknown.status_code == 404
    assert "index.json" in unknown.text

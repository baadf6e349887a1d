"""The demand for workers: its route, and the metrics that are measured when they are read."""

import pytest
from noetl_api_gateway.upstream import demand
from noetl_api_gateway.upstream.demand import measure_demand
from noetl_bus.rpc import serve_rpc
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_testkit.rpc import fake_handler
from noetl_testkit.waiting import PATIENCE_SECONDS
from prometheus_client import REGISTRY

from ...conftest import IMPATIENT, World, make_world

TOKEN = "right"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
GPU = {"pool": "gpu", "waiting": 3, "running": 2, "oldest_seconds": 7.5}


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def of_pools(*pools: Json) -> JsonObject:
    return {"pools": list(pools)}


async def test_the_demand_of_a_pool_is_that_of_all_shards(nats_url: str) -> None:
    two = {"internal_api_token": TOKEN, "shard_count": 2}
    async with make_world(nats_url, **IMPATIENT, **two) as world:
        world.backend.answer("demand", of_pools(GPU))
        alone = await world.get("/api/internal/pools/gpu/demand", **AUTHORIZED)
    async with make_world(nats_url, **two) as world:
        world.backend.answer("demand", of_pools(GPU))

        async def other(_request: JsonObject) -> RpcReply:
            return RpcReply.with_body(of_pools({**GPU, "waiting": 10}))

        handlers = [fake_handler("orchestrator", "demand", other)]
        async with serve_rpc(world.backend.bus, handlers, queue="fake", shard=1):
            whole = await world.get("/api/internal/pools/gpu/demand", **AUTHORIZED)
            unknown = await world.get("/api/internal/pools/none/demand", **AUTHORIZED)

            for name in ("default", "a b"):
                await world.get(f"/api/internal/pools/{name}/demand", **AUTHORIZED)
        asked = [one["pool"] for one in world.backend.requests("demand")]

    assert asked[-2:] == ["shared", "a-b"], "by the names that workers of the pool have"
    assert alone.status_code == 503
    assert whole.json() == {"pool": "gpu", "waiting": 13, "running": 4, "total": 17}
    assert unknown.json() == {"pool": "none", "waiting": 0, "running": 0, "total": 0}


async def test_reading_the_metrics_measures_the_demand(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "_SECONDS", PATIENCE_SECONDS)
    world.backend.answer("demand", of_pools(GPU))
    text = (await world.get("/metrics")).text

    assert 'noetl_pool_commands{pool="gpu",state="waiting"} 3.0' in text
    assert 'noetl_pool_commands{pool="gpu",state="running"} 2.0' in text
    assert 'noetl_pool_demand{pool="gpu"} 5.0' in text
    assert 'noetl_pool_oldest_waiting_seconds{pool="gpu"} 7.5' in text
    assert "\nnoetl_dead_letters " in text
    assert 'noetl_pool_demand{pool="shared"} 0.0' in text

    # A number that holds no longer would stop workers that are needed.
    services = world.shell.service.opened_gateway().services  # type: ignore[attr-defined]
    before = shown("noetl_pool_demand_unknown_total") or 0
    world.backend.answer("demand", lambda _request: RpcReply(status=500, error="no database"))
    await measure_demand(services)
    assert shown("noetl_pool_demand", pool="gpu") is None
    assert shown("noetl_pool_demand", pool="shared") is None
    assert shown("noetl_pool_demand_unknown_total") == before + 1

    # Names are whatever users write.
    pools = [{"pool": f"p{number}", "waiting": number, "running": 1} for number in range(103)]
    alike = [{"pool": name, "waiting": 500, "running": 0} for name in ("other", "_other")]
    world.backend.answer("demand", of_pools(*pools, *alike))
    await measure_demand(services)
    assert shown("noetl_pool_demand", pool="p102") == 103
    assert shown("noetl_pool_demand", pool="p2") is None
    assert shown("noetl_pool_demand", pool="other") == 500
    assert shown("noetl_pool_demand", pool="_other") == 1 + 2 + 3 + 4 + 500

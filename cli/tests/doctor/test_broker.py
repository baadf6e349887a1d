"""Findings of the doctor at the broker and the services behind it."""

import pytest
from noetl.doctor.broker import look_at_broker
from noetl.doctor.services import look_at_services
from noetl.stack.servers.topology import BrokerUnreachable, connected
from noetl_bus.broker import Bus
from noetl_bus.jetstream import consumer_info
from noetl_bus.rpc import serve_rpc
from noetl_bus.topology import ensure_topology
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.operation import ServiceName
from noetl_contract.streams import COMMITS, EVENTS, STREAMS, ingress_durable, projector_durable
from noetl_contract.subjects import commit_subject
from noetl_testkit.rpc import fake_handler
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

LETTER = {
    "Noetl-Dead-Reason": "no such kind",
    "Noetl-Dead-Subject": "noetl_ingress.0.5.execute",
}


async def has_stored(bus: Bus, count: int) -> bool:
    found = await consumer_info(bus, COMMITS.name, projector_durable(0).name)
    return found is not None and found.pending == count


async def test_streams_durables_and_dead_letters(nats_url: str) -> None:
    durables = (ingress_durable(0), projector_durable(0))
    async with connected(nats_url, name="doctor") as bus:
        await ensure_topology(bus, STREAMS, durables)
        assert await look_at_broker(bus, shards=1) == []

        await bus.js.delete_consumer(ingress_durable(0).stream, ingress_durable(0).name)
        await bus.js.delete_stream(EVENTS.name)
        await bus.publish("noetl_dead.noetl_ingress", b"{}", message_id="d1", headers=LETTER)
        for number in range(1001):
            bus.send_nowait(commit_subject(number, shard=0), b"{}")
        await eventually(lambda: has_stored(bus, 1001), what="all messages are stored")
        findings = {one.code: one for one in await look_at_broker(bus, shards=1)}

    assert set(findings) == {
        "stream_missing",
        "durable_missing",
        "dead_letters",
        "consumer_lagging",
    }
    assert findings["durable_missing"].place == "noetl_ingress/orchestrator_0_kinds"
    assert findings["dead_letters"].details == ("1: noetl_ingress.0.5.execute: no such kind",)
    assert findings["consumer_lagging"].text == "1,001 messages wait for noetl_commits/projector_0"


async def test_a_broker_that_is_not_there_is_told() -> None:
    with pytest.raises(BrokerUnreachable, match="refused"):
        async with connected("nats://127.0.0.1:1", name="doctor", seconds=0.5):
            pass


async def serve(bus: Bus, answers: dict[tuple[ServiceName, str], RpcReply], shard: int) -> object:
    def handler(service: ServiceName, name: str, reply: RpcReply) -> object:
        async def answer(_request: JsonObject) -> RpcReply:
            return reply

        return fake_handler(service, name, answer)

    handlers = [handler(*key, reply) for key, reply in answers.items()]
    return serve_rpc(bus, handlers, queue="fake", shard=shard)  # type: ignore[arg-type]


async def test_services_that_are_silent_or_fail(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl.doctor.services._SECONDS", PATIENCE_SECONDS)
    liveness: Json = {"now": "2026-01-01T00:00:00Z", "workers": {}}
    answers: dict[tuple[ServiceName, str], RpcReply] = {
        ("catalog", "runtime.liveness"): RpcReply.with_body(liveness),
        ("catalog", "wallet.key"): RpcReply.with_body(
            {"is_usable": False, "reason": "no key is set"}
        ),
        ("orchestrator", "demand"): RpcReply(status=503, error="no database"),
        ("projector", "executions.exists"): RpcReply(status=404, error="no such execution"),
    }
    async with connected(nats_url, name="doctor") as bus, await serve(bus, answers, 0):  # type: ignore[attr-defined]
        findings = await look_at_services(bus, shards=1)

    assert [(one.code, one.text) for one in findings] == [
        ("encryption_key_unusable", "catalog: no key is set"),
        ("service_failing", "orchestrator of shard 0 answers: no database"),
        ("service_silent", "outbox of shard 0 does not answer"),
    ]

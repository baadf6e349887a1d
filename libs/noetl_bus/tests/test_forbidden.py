"""Operations that a login may not do are refused at once and by name."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from noetl_bus import jetstream
from noetl_bus.broker import connect
from noetl_bus.errors import BusForbidden
from noetl_bus.publish import Outgoing
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_durable, ensure_topology
from noetl_contract.streams import COMMANDS, STREAMS, pool_durable
from noetl_testkit.bus import nats_settings
from noetl_testkit.nats import NatsServer, running_nats
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as running:
        yield running


def settings_of(server: NatsServer, user: str) -> NatsSettings:
    return nats_settings(server.instance.url_of(user))


async def test_a_publish_and_a_request_without_the_right_fail_by_name(server: NatsServer) -> None:
    async with connect(settings_of(server, "worker-shared"), name="test") as bus:
        with pytest.raises(BusForbidden, match="worker-shared may not publish noetl_ingress"):
            await bus.publish(
                "noetl_ingress.0.7.cancel", b"{}", message_id="1", seconds=PATIENCE_SECONDS
            )
        with pytest.raises(BusForbidden, match=r"credential\.get"):
            await bus.request("noetl_rpc.catalog.cluster.credential.get", seconds=PATIENCE_SECONDS)
        (error,) = await bus.publish_many(
            [Outgoing("noetl.events.X", b"{}")], seconds=PATIENCE_SECONDS
        )
        assert isinstance(error, BusForbidden)
        assert {"noetl_ingress", "noetl_rpc.catalog.credential.get", "noetl.events"} <= (
            bus.forbidden
        )


async def test_who_may_not_make_streams_waits_for_another(server: NatsServer) -> None:
    async with (
        connect(settings_of(server, "api-gateway"), name="edge") as edge,
        connect(settings_of(server, "outbox"), name="outbox") as outbox,
    ):
        waiting = asyncio.create_task(ensure_topology(edge, STREAMS))
        await eventually(lambda: edge.forbidden, what="the edge has tried")
        assert not waiting.done()
        await ensure_topology(outbox, STREAMS)
        async with unless_it_hangs():
            await waiting


async def test_a_stream_of_another_configuration_is_left_to_who_may_change_it(
    server: NatsServer,
) -> None:
    async with (
        connect(settings_of(server, "noetl"), name="operator") as operator,
        connect(settings_of(server, "orchestrator"), name="orchestrator") as orchestrator,
    ):
        await ensure_topology(operator, STREAMS)
        body = {"name": COMMANDS.name, "subjects": list(COMMANDS.subjects), "max_age": 60 * 10**9}
        changed = {**body, "duplicate_window": 60 * 10**9, "storage": "file"}
        await jetstream.call(operator, f"STREAM.UPDATE.{COMMANDS.name}", changed)
        await ensure_topology(orchestrator, STREAMS)
        info = await jetstream.stream_info(operator, COMMANDS.name)

    assert info is not None
    assert info.config["max_age"] == 60 * 10**9


async def test_a_worker_makes_the_durable_of_its_pool_and_with_no_other_filter(
    server: NatsServer,
) -> None:
    @dataclass(frozen=True)
    class Case:
        stream: str
        name: str
        filter: str

    own = pool_durable("shared")
    async with (
        connect(settings_of(server, "noetl"), name="operator") as operator,
        connect(settings_of(server, "worker-shared"), name="worker") as worker,
    ):
        await ensure_topology(operator, STREAMS)
        await ensure_durable(worker, own)
        cases = [
            Case(own.stream, own.name, "noetl.commands.>"),
            Case(own.stream, own.name, "noetl.commands.system.>"),
            Case(own.stream, "noetl_worker_pool_system", "noetl.commands.system.>"),
        ]
        for case in cases:
            config = {"durable_name": case.name, "filter_subject": case.filter}
            body = json.dumps({"stream_name": case.stream, "config": config}).encode()
            for subject in (
                f"$JS.API.CONSUMER.CREATE.{case.stream}.{case.name}.{case.filter}",
                f"$JS.API.CONSUMER.CREATE.{case.stream}.{case.name}",
                f"$JS.API.CONSUMER.DURABLE.CREATE.{case.stream}.{case.name}",
                f"$JS.API.CONSUMER.DELETE.{case.stream}.{case.name}",
            ):
                with pytest.raises(BusForbidden):
                    await worker.request(subject, body, seconds=PATIENCE_SECONDS)

"""Streams and durables brought to, and kept at, their declared configuration."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from nats.js.api import ConsumerConfig, StorageType, StreamConfig
from noetl_bus.broker import Bus
from noetl_bus.errors import TopologyRefused
from noetl_bus.jetstream import stream_info
from noetl_bus.topology import (
    _Watch,
    ensure_durable,
    ensure_stream,
    ensure_topology,
    run_topology_watch,
)
from noetl_contract.streams import (
    COMMANDS,
    INGRESS,
    STREAMS,
    DurableSpec,
    ingress_durable,
    pool_durable,
)
from noetl_testkit.bus import Place, make_place, running
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from prometheus_client import REGISTRY


async def test_declared_streams_get_their_declared_configuration(bus: Bus) -> None:
    await ensure_topology(bus, STREAMS, [ingress_durable(0), pool_durable("shared")])

    ingress = (await bus.js.stream_info(INGRESS.name)).config
    assert ingress.retention == "workqueue"
    assert ingress.discard == "new"
    assert ingress.duplicate_window == INGRESS.duplicate_window.total_seconds()
    assert ingress.max_bytes == INGRESS.max_bytes
    assert ingress.storage == "file"
    commands = (await bus.js.stream_info(COMMANDS.name)).config
    assert commands.subjects == list(COMMANDS.subjects)
    assert commands.max_age == 3600
    durable = (await bus.js.consumer_info(INGRESS.name, "orchestrator_0_kinds")).config
    assert durable.ack_wait == 5
    assert durable.ack_policy == "explicit"
    assert durable.filter_subject == "noetl_ingress.0.>"


async def test_what_a_real_worker_made_first_is_updated(bus: Bus) -> None:
    """It creates both with its client's defaults, silently."""
    await bus.js.add_stream(StreamConfig(name=COMMANDS.name, subjects=["noetl.commands"]))
    declared = pool_durable("shared")
    await bus.js.add_consumer(
        COMMANDS.name,
        ConsumerConfig(durable_name=declared.name, filter_subject="noetl.commands"),
    )
    await bus.js.publish("noetl.commands", b"queued before us")
    await ensure_topology(bus, [COMMANDS], [declared])

    stream = await bus.js.stream_info(COMMANDS.name)
    assert stream.config.subjects == list(COMMANDS.subjects)
    assert stream.config.max_age == 3600
    assert stream.config.duplicate_window == 120
    assert stream.state.messages == 1
    durable = (await bus.js.consumer_info(COMMANDS.name, declared.name)).config
    assert durable.ack_wait == 30
    assert durable.max_deliver == 1000
    assert durable.max_ack_pending == 10_000
    assert durable.filter_subject == declared.filter_subject
    assert durable.max_waiting == 512, "no broker changes it"


async def test_thousands_of_workers_may_wait_at_a_durable_of_ours(bus: Bus) -> None:
    """The broker's own bound is 512 requests, of which one worker may have five."""
    declared = pool_durable("crowd")
    await ensure_topology(bus, [COMMANDS], [declared])

    durable = (await bus.js.consumer_info(COMMANDS.name, declared.name)).config
    assert durable.max_waiting == declared.max_waiting >= 5 * 2000


async def test_a_second_time_only_looks(bus: Bus) -> None:
    """Otherwise every look of every service would be a write; the broker may answer with
    other values than it was given."""
    durables = [ingress_durable(0), pool_durable("shared")]
    await ensure_topology(bus, STREAMS, durables)
    # Earlier requests are reported before this answer.
    await stream_info(bus, INGRESS.name)
    calls: list[str] = []
    await bus.subscribe(
        "$JS.EVENT.ADVISORY.API",
        lambda incoming: calls.append(orjson.loads(incoming.data)["subject"]),
    )
    await ensure_topology(bus, STREAMS, durables)
    await eventually(lambda: len(calls) >= len(STREAMS) + len(durables))

    assert {"INFO"} == {subject.split(".")[3] for subject in calls}


async def test_memory_storage_made_by_others_is_kept(bus: Bus, place: Place) -> None:
    """The broker can't change it, and refusing to start would not help."""
    old = make_place(f"{place.stream.name}x", max_age=timedelta(hours=1))
    await bus.js.add_stream(
        StreamConfig(
            name=old.stream.name, subjects=[f"{old.stream.name}.>"], storage=StorageType.MEMORY
        )
    )
    info = await ensure_stream(bus, old.stream)

    assert info["config"]["storage"] == "memory"
    assert info["config"]["max_age"] == 3600 * 10**9


async def test_overlapping_subjects_are_refused_with_the_reason(bus: Bus, place: Place) -> None:
    other = replace(place.stream, name=f"{place.stream.name}x")
    with pytest.raises(TopologyRefused, match="overlap"):
        await ensure_stream(bus, other)


async def test_many_callers_at_once_agree(bus: Bus, bus_prefix: str) -> None:
    wanted = make_place(bus_prefix)
    await asyncio.gather(
        *(ensure_topology(bus, [wanted.stream], [wanted.durable]) for _ in range(20))
    )

    assert (await stream_info(bus, bus_prefix)).last_sequence == 0
    assert (await ensure_durable(bus, wanted.durable))["num_pending"] == 0


async def test_a_durable_keeps_its_place_when_it_is_updated(bus: Bus, place: Place) -> None:
    await bus.publish(place.subject(), b"", message_id="1")
    await ensure_durable(bus, place.durable)
    batch = await (await bus.js.pull_subscribe_bind(place.durable.name, place.stream.name)).fetch(1)
    await batch[0].ack_sync()
    info = await ensure_durable(bus, replace(place.durable, ack_wait=timedelta(seconds=9)))

    assert info["config"]["ack_wait"] == 9 * 10**9
    assert info["ack_floor"]["stream_seq"] == 1


async def test_a_stream_made_again_has_another_identity(bus: Bus, place: Place) -> None:
    await bus.publish(place.subject(), b"", message_id="1")
    before = await stream_info(bus, place.stream.name)
    await bus.js.delete_stream(place.stream.name)
    await ensure_topology(bus, [place.stream])
    after = await stream_info(bus, place.stream.name)

    assert before is not None
    assert after is not None
    assert (before.first_sequence, before.last_sequence) == (1, 1)
    assert after.created_at > before.created_at
    assert after.last_sequence == 0


async def test_a_missing_stream_has_no_identity(bus: Bus, bus_prefix: str) -> None:
    assert await stream_info(bus, bus_prefix) is None


async def test_the_watch_makes_what_vanishes_and_tells(bus: Bus, place: Place) -> None:
    reborn: list[str] = []

    async def notice(name: str) -> None:
        # Everything is there again by now, durables included.
        info = await bus.js.consumer_info(place.stream.name, place.durable.name)
        reborn.append(info.stream_name)
        assert name == place.stream.name

    watch = run_topology_watch(
        bus, [place.stream], [place.durable], interval=0.05, on_stream_recreated=notice
    )
    async with running(watch):
        await eventually(lambda: _has_durable(bus, place.durable))
        await bus.js.delete_stream(place.stream.name)
        await eventually(lambda: reborn)

    assert reborn == [place.stream.name]


@pytest.mark.parametrize("failures", [1, 2])
async def test_the_watch_reports_recreated_streams_after_a_failed_check(
    bus: Bus, place: Place, failures: int
) -> None:
    """The first stream is made again, then the second one is refused for a while."""
    second = make_place(f"{place.stream.name}y")
    blocker = replace(second.stream, name=f"{place.stream.name}z")
    told: list[str] = []

    async def notice(name: str) -> None:
        told.append(name)

    watch = _Watch(bus, (place.stream, second.stream), (place.durable,), notice)
    await watch.check()
    for stream in (place.stream, second.stream):
        await bus.js.delete_stream(stream.name)
    await ensure_stream(bus, blocker)
    for _ in range(failures):
        await watch.check()
    assert (watch.failures, told) == (failures, [])

    await bus.js.delete_stream(blocker.name)
    await watch.check()
    assert told == [place.stream.name, second.stream.name]
    await watch.check()
    assert told == [place.stream.name, second.stream.name], "each once"


async def test_the_watch_looks_at_once_after_a_reconnect(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    place = make_place("watched")
    watch = run_topology_watch(own_bus, [place.stream], [place.durable], interval=60)
    async with running(watch):
        await eventually(lambda: _has_durable(own_bus, place.durable))
        await asyncio.to_thread(own_nats.wipe)
        await eventually(lambda: own_bus.is_connected)
        await eventually(lambda: _has_durable(own_bus, place.durable))


async def test_a_look_that_fails_shows_no_lag(
    own_nats: NatsServer, own_bus: Bus, bus_prefix: str
) -> None:
    """That of the last look would pass for the present one."""
    place = make_place(bus_prefix)
    other = replace(place.stream, name=f"{place.stream.name}x")
    labels = {"stream": place.durable.stream, "consumer": place.durable.name}

    def lag() -> float | None:
        return REGISTRY.get_sample_value("noetl_consumer_pending", labels)

    # It looks when it begins and after a reconnect.
    watch = run_topology_watch(own_bus, [place.stream], [place.durable], interval=3600)
    async with running(watch):
        await eventually(lambda: lag() == 0)
        await own_bus.js.delete_stream(place.stream.name)
        await ensure_stream(own_bus, other)
        assert lag() == 0
        await asyncio.to_thread(own_nats.restart)
        await eventually(lambda: lag() is None)


async def test_what_is_refused_makes_the_bus_not_ready(bus: Bus, place: Place) -> None:
    other = replace(place.stream, name=f"{place.stream.name}x")
    async with running(run_topology_watch(bus, [other], [], interval=60)):
        await eventually(lambda: not bus.topology_ok)
        assert not await bus.is_ready()
        await bus.js.delete_stream(place.stream.name)
        await eventually(bus.is_ready)


async def _has_durable(bus: Bus, spec: DurableSpec) -> bool:
    raw = await bus.request(
        f"$JS.API.CONSUMER.INFO.{spec.stream}.{spec.name}", seconds=PATIENCE_SECONDS
    )
    return b'"error"' not in raw.data

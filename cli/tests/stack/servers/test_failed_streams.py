"""A broker whose disk was full: streams that take nothing until it is started again."""

import asyncio
import resource
from pathlib import Path

import pytest
from noetl.doctor.broker import look_at_broker
from noetl.stack.child import Ailment
from noetl.stack.servers.topology import connected
from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable
from noetl_bus.topology import ensure_topology
from noetl_contract.streams import DEAD, STREAMS, audit_durable, ingress_durable, projector_durable
from noetl_testkit.nats import NatsServer, running_nats
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

DURABLES = (audit_durable(), ingress_durable(0), projector_durable(0))


def let_files_grow(server: NatsServer, most_bytes: int) -> None:
    """Let writes to the server's disk fail above a size: to it the same as a full disk."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))


async def fail_writes(bus: Bus, server: NatsServer) -> None:
    """Let a stream fail by a write that finds no room; there is room afterwards."""
    let_files_grow(server, 1)
    with pytest.raises(BusUnavailable):
        await bus.publish(f"{DEAD.name}.x", b"x" * 4096, message_id="1", seconds=2)
    # No answer came in time; the write may still be to come.
    await eventually(lambda: asyncio.to_thread(server.instance.failed_streams))
    let_files_grow(server, resource.RLIM_INFINITY)


async def test_one_failed_stream_of_several_is_found_and_a_restart_helps(tmp_path: Path) -> None:
    with running_nats(tmp_path / "nats") as server:
        async with connected(server.url, name="test") as bus:
            await ensure_topology(bus, STREAMS, DURABLES)
            await bus.publish(f"{DEAD.name}.x", b"first", message_id="0")
            assert server.instance.failed_streams() == []
            assert server.instance.ailment() is None

            await fail_writes(bus, server)

            with pytest.raises(BusUnavailable):
                await bus.publish(f"{DEAD.name}.x", b"x", message_id="2", seconds=2)
            assert server.instance.is_ready(), "it answers as ever"
            assert server.instance.failed_streams() == [DEAD.name]
            assert server.instance.ailment() == Ailment(
                f"it stores nothing in {DEAD.name} since a write to its disk failed; "
                "there is room now",
                restart_helps=True,
            )
            findings = {one.code: one for one in await look_at_broker(bus, shards=1)}
            assert findings["stream_failed"].place == DEAD.name
            assert "restart the broker" in findings["stream_failed"].next

            server.stop()
            server.start()
            await bus.publish(f"{DEAD.name}.x", b"x", message_id="3", seconds=PATIENCE_SECONDS)
            assert server.instance.ailment() is None


async def test_without_room_a_restart_is_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_nats(tmp_path / "nats") as server:
        async with connected(server.url, name="test") as bus:
            await ensure_topology(bus, STREAMS, DURABLES)
            await fail_writes(bus, server)
        monkeypatch.setattr("noetl.stack.servers.nats._ROOM_BYTES", 1 << 60)
        found = server.instance.ailment()

    assert found is not None
    assert not found.restart_helps
    assert f"it stores nothing in {DEAD.name}" in found.text
    assert "MB left" in found.text

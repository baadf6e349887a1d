"""Starting, refusing, draining, and noticing a process that hangs."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from noetl.stack import logs, services
from noetl.stack.child import Child, ChildSpec, ChildState, Pace
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import DataDirectoryInUseError, StackError
from noetl.stack.process import free_port
from noetl.stack.servers import migrations, topology
from noetl.stack.servers.nats_probe import NatsProbe
from noetl.stack.supervisor import StackPlan, running
from noetl_testkit.nats import NatsServer, stream_names
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import eventually
from placeholder_harness import PlaceholderStack


def test_a_second_stack_on_the_same_directory_is_refused(stack: PlaceholderStack) -> None:
    second = subprocess.run(stack.command(), capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert "a stack is running" in second.stderr
    assert stack.is_ready()


def test_a_port_in_use_is_refused_before_anything_starts(stopped_stack: PlaceholderStack) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        refused = subprocess.run(
            [*stopped_stack.command(), str(port)], capture_output=True, text=True, check=False
        )

    assert refused.returncode == 1
    assert f"port {port} is in use" in refused.stderr
    assert stopped_stack.services() == {}


def test_a_stop_drains_the_services_before_the_servers(stack: PlaceholderStack) -> None:
    code = stack.stop()

    edge, orchestrator = (
        (stack.data.logs / f"{name}.log").read_text() for name in ("api-gateway", "orchestrator")
    )
    assert code == 0
    assert "drain: nats is there" in edge
    assert "drain: nats is there\ndrain: postgres is there" in orchestrator
    assert {entry["state"] for entry in stack.services().values()} == {"stopped"}


def test_edge_and_workers_are_not_told_where_the_database_is(stack: PlaceholderStack) -> None:
    said = {path.stem: path.read_text() for path in stack.data.logs.glob("*.log")}

    assert "knows the database: False" in said["api-gateway"]
    assert "knows the database: False" in said["worker-1"]
    assert "knows the database: True" in said["orchestrator"]


def test_secrets_are_for_the_owner_only(stack: PlaceholderStack) -> None:
    root = stack.data.root

    assert root.stat().st_mode & 0o077 == 0
    assert (root / "identity.json").stat().st_mode & 0o077 == 0
    assert stack.data.identity().postgres_password not in (root / "state.json").read_text()


async def test_servers_of_ones_own_are_used_instead(
    tmp_path: Path, own_nats: NatsServer, own_postgres: OwnPostgresServer
) -> None:
    address = own_postgres.at("mine")
    outside = services.outside({"NOETL_NATS_URL": own_nats.url, **address.environment})
    plan = StackPlan(data=DataDirectory(tmp_path / "data"), port=None, outside=outside, modules={})

    async with running(plan) as supervisor:
        await supervisor.wait_ready(30)
        children, url = list(supervisor.children), supervisor.nats_url

    assert (children, url) == ([], own_nats.url)
    assert address.run("SELECT count(*) FROM noetl.event") == "0"


async def test_the_edge_is_looked_for_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    plan = plan_on_nothing(
        tmp_path, host="127.0.0.2", modules={"api-gateway": "placeholder_service"}
    )

    async with running(plan) as supervisor:
        await supervisor.wait_ready(60)
        url = supervisor.url

    assert url == f"http://127.0.0.2:{supervisor.edge_port}"


@pytest.mark.parametrize("host", ["192.0.2.77", "300.1.1.1"])
async def test_an_address_that_is_not_ours_is_not_a_port_in_use(tmp_path: Path, host: str) -> None:
    with pytest.raises(StackError, match=f"can't listen on {host}:"):
        async with running(plan_on_nothing(tmp_path, port=free_port(), host=host)):
            pass


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- nobody listens
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("db.local", "http://db.local:80"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert services.public_url(host, 80) == url


async def test_a_migration_is_ended_by_us_and_not_by_the_terminal(tmp_path: Path) -> None:
    async with running(plan_on_nothing(tmp_path, migrate=True)):
        await eventually(runners)
        groups = {os.getpgid(pid) for pid in runners()}

    # Ctrl-C goes to the whole group of the supervisor.
    assert os.getpgid(0) not in groups
    await eventually(lambda: not runners())


def plan_on_nothing(tmp_path: Path, **more: Any) -> StackPlan:
    """A plan with servers of one's own that are not there."""
    outside = services.outside(
        {
            "NOETL_NATS_URL": f"nats://127.0.0.1:{free_port()}",
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(free_port()),
        }
    )
    settings = {"port": None, "modules": {}, "migrate": False} | more
    return StackPlan(data=DataDirectory(tmp_path / "data"), outside=outside, **settings)


def runners() -> list[int]:
    """Our living migration runners."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            before, _, after = path.read_text().rpartition(")")
            state, parent = after.split()[:2]
            if before.endswith("(dbmate") and state != "Z" and int(parent) == os.getpid():
                found.append(int(path.parent.name))
    return found


async def test_a_service_that_never_starts_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    plan = StackPlan(
        data=DataDirectory(tmp_path / "data"), port=None, modules={"outbox": "no_such_module"}
    )

    with pytest.raises(StackError, match="No module named no_such_module"):
        async with running(plan) as supervisor:
            await supervisor.wait_ready(60)


async def test_a_process_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    alive = True

    async def is_ready(_: int) -> bool:
        return True

    async def is_alive(_: int) -> bool:
        return alive

    spec = ChildSpec(
        name="sleeper",
        command=lambda: [sys.executable, "-c", "import time; time.sleep(600)"],
        log=tmp_path / "sleeper.log",
        port=0,
        is_ready=is_ready,
        is_alive=is_alive,
    )
    pace = Pace(watch_poll_seconds=0.02, hang_patience_seconds=0.2)
    child = Child(spec, lambda _: None, pace)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        await eventually(lambda: child.state is ChildState.READY)
        first, alive = child.pid, False
        await eventually(lambda: child.restarts > 0)
        alive = True
        await eventually(lambda: child.state is ChildState.READY)
        second = child.pid
        await child.stop()

    assert first != second
    assert child.state is ChildState.STOPPED


async def test_a_process_that_does_not_drain_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def is_ready(_: int) -> bool:
        return "deaf" in (tmp_path / "deaf.log").read_text()

    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"  # noqa: E501 -- one program
    spec = ChildSpec(
        name="deaf",
        command=lambda: [sys.executable, "-c", code],
        log=tmp_path / "deaf.log",
        port=0,
        is_ready=is_ready,
        stop_grace_seconds=0.2,
    )
    child = Child(spec, lambda _: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        await eventually(lambda: child.state is ChildState.READY)
        began = time.monotonic()
        await child.stop()

    assert 0.2 <= time.monotonic() - began < 60
    assert child.restarts == 0


def test_a_directory_can_be_held_once(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        held = data.is_held()
        with pytest.raises(DataDirectoryInUseError), DataDirectory(tmp_path / "data").hold():
            pass

    assert held
    assert not data.is_held()


def test_who_looks_at_a_directory_keeps_nobody_from_holding_it(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with data.hold():
        pass
    with ThreadPoolExecutor() as pool:
        looks = pool.submit(lambda: [data.is_held() for _ in range(20_000)])
        while not looks.done():
            with data.hold():
                pass

    assert False in looks.result()


def test_the_state_of_a_killed_stack_is_not_that_of_the_next(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    killed = {"url": "http://it", "services": [{"name": "it", "state": "ready"}]}
    with data.hold():
        data.save_state(killed)

    with data.hold():
        assert (data.state(), data.last_state()) == (None, killed)
    with data.hold():
        assert data.last_state() == killed


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(free_port() < lowest for _ in range(50))


async def test_a_log_over_its_limit_is_cut_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        cutting = asyncio.create_task(
            logs.run_log_limits(lambda: [path], limit_bytes=300, every_seconds=0.01)
        )
        await eventually(lambda: path.stat().st_size == 0)
        cutting.cancel()
        writer.write(b"new\n")

    assert path.read_text() == "new\n"
    assert (tmp_path / "service.log.1").read_text() == "old\n" * 100


@pytest.mark.parametrize("count", [0, 1, 7, 50_000])
def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path, count: int) -> None:
    path = tmp_path / "service.log"
    path.write_text("".join(f"line {number}\n" for number in range(count)))

    expected = [f"line {number}" for number in range(count)][-5:]
    assert logs.tail(path, lines=5) == expected
    assert logs.tail(path, lines=0) == []


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"NOETL_NATS_URL": "localhost:4222"}, "NOETL_NATS_URL"),
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "many"}, "POSTGRES_PORT"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(StackError, match=complaint):
        services.outside(environment)


def test_a_service_link_of_kubernetes_is_not_a_port() -> None:
    found = services.outside({"POSTGRES_HOST": "db", "POSTGRES_PORT": "tcp://10.0.0.1:5432"})

    assert found.databases is not None
    assert found.databases.cluster.port == 5432


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "x", "colour": "red"}', "{"])
def test_an_identity_of_another_version_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(text)

    with pytest.raises(StackError, match=str(path)):
        DataDirectory(tmp_path).identity()


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_state_that_a_power_cut_left_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)

    assert DataDirectory(tmp_path).state() is None


async def test_a_database_of_another_version_is_not_waited_for(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.postgres.mkdir(mode=0o700, parents=True)
    (data.postgres / "PG_VERSION").write_text("9\n")

    with pytest.raises(StackError, match="initialized by PostgreSQL version 9"):
        async with running(StackPlan(data=data, port=None, modules={})) as supervisor:
            await supervisor.wait_ready(120)


def test_topology_can_be_applied_twice(nats_url: str) -> None:
    first, second = topology.apply(nats_url), topology.apply(nats_url)

    with NatsProbe(nats_url) as probe:
        streams = set(stream_names(probe))
    assert first == second
    assert streams == {"noetl_ingress", "NOETL_COMMANDS", "NOETL_EVENTS", "noetl_dead"}
    assert "NOETL_COMMANDS/noetl_worker_pool_shared" in first


def test_a_database_can_be_migrated_twice(empty_database: Database) -> None:
    migrations.migrate(empty_database.dsn)
    migrations.migrate(empty_database.dsn)

    assert empty_database.run("SELECT count(*) FROM noetl.event") == "0"


def test_a_migration_that_fails_says_why(empty_database: Database) -> None:
    empty_database.run("CREATE SCHEMA noetl; CREATE TABLE noetl.event (n INT)")

    with pytest.raises(StackError, match=r'relation "event" already exists'):
        migrations.migrate(empty_database.dsn)

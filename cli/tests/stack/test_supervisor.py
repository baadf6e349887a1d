"""A stack starts, refuses to start, and drains."""

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from noetl.stack import services
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import StackError
from noetl.stack.process import free_port
from noetl.stack.supervisor import StackPlan, running
from noetl_testkit.nats import NatsServer
from noetl_testkit.postgres import OwnPostgresServer
from noetl_testkit.waiting import eventually
from placeholder_harness import HERE, PlaceholderStack


def test_a_second_stack_on_the_same_directory_is_refused(lasting_stack: PlaceholderStack) -> None:
    second = subprocess.run(lasting_stack.command(), capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert "a stack is running" in second.stderr
    assert lasting_stack.is_ready()


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


def test_edge_and_workers_are_not_told_where_the_database_is(
    lasting_stack: PlaceholderStack,
) -> None:
    said = {path.stem: path.read_text() for path in lasting_stack.data.logs.glob("*.log")}

    assert "knows the database: False" in said["api-gateway"]
    assert "knows the database: False" in said["worker-1"]
    assert "knows the database: True" in said["orchestrator"]


def test_secrets_are_for_the_owner_only(lasting_stack: PlaceholderStack) -> None:
    root = lasting_stack.data.root

    assert root.stat().st_mode & 0o077 == 0
    assert (root / "identity.json").stat().st_mode & 0o077 == 0
    assert lasting_stack.data.identity().postgres_password not in (root / "state.json").read_text()


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
    monkeypatch.setenv("PYTHONPATH", str(HERE))
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

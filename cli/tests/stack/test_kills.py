"""Killed processes come back, and what was written before is there after."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from noetl.stack.process import birth, processes_in
from noetl.stack.servers.nats_probe import NatsProbe
from noetl_testkit.users import as_user, user_can_import
from noetl_testkit.waiting import wait_until
from placeholder_harness import PlaceholderStack

_NOBODY = 65534

ROUNDS = int(os.environ.get("KILL_ROUNDS", "4"))


def message_count(url: str, stream: str) -> int:
    with NatsProbe(url) as probe:
        return int(probe.request(f"$JS.API.STREAM.INFO.{stream}")["state"]["messages"])


def publish(url: str, stream: str, body: str) -> None:
    with NatsProbe(url) as probe:
        assert probe.request(f"{stream}.1", body)["stream"] == stream


def make_stream(url: str, stream: str) -> None:
    wanted = {"name": stream, "subjects": [f"{stream}.>"]}
    with NatsProbe(url) as probe:
        made = probe.request(f"$JS.API.STREAM.CREATE.{stream}", wanted)
        assert made["config"]["name"] == stream


def test_a_killed_nats_comes_back_with_its_messages(lasting_stack: PlaceholderStack) -> None:
    make_stream(lasting_stack.nats_url, "kept")
    for number in range(ROUNDS):
        publish(lasting_stack.nats_url, "kept", f"message {number}")
        lasting_stack.kill_and_wait("nats")

    assert message_count(lasting_stack.nats_url, "kept") == ROUNDS


def test_a_killed_postgres_comes_back_with_every_commit(lasting_stack: PlaceholderStack) -> None:
    lasting_stack.database.run("CREATE TABLE kept (n INT)")
    for number in range(ROUNDS):
        lasting_stack.database.run(f"INSERT INTO kept VALUES ({number})")
        lasting_stack.kill_and_wait("postgres")

    assert lasting_stack.database.run("SELECT count(*) FROM kept") == str(ROUNDS)


def test_a_busy_backend_of_a_killed_postgres_does_not_stop_the_next_one(
    lasting_stack: PlaceholderStack,
) -> None:
    """A backend notices the death of its postmaster only when it next waits."""
    database = lasting_stack.database
    loop = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
    busy = subprocess.Popen(
        [sys.executable, "-c", BUSY, database.dsn, loop], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(
            lambda: (
                database.run("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%'") == "1"
            ),
        )
        lasting_stack.kill_and_wait("postgres")
    finally:
        busy.kill()
        busy.wait()

    assert database.run("SELECT 1") == "1"


BUSY = """
import asyncio, sys, asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute(sys.argv[2])
asyncio.run(main())
"""


def test_a_killed_backend_takes_nothing_along(lasting_stack: PlaceholderStack) -> None:
    lasting_stack.database.run("CREATE TABLE backend_kept AS SELECT 1 AS n")
    postmaster = lasting_stack.pid("postgres")
    for _ in range(ROUNDS):
        kill_a_backend(lasting_stack, postmaster)
        wait_until(lambda: answers(lasting_stack), what="PostgreSQL answers")

    assert lasting_stack.pid("postgres") == postmaster
    assert lasting_stack.database.run("SELECT n FROM backend_kept") == "1"


def kill_a_backend(stack: PlaceholderStack, postmaster: int) -> None:
    """Kills the newest process below the postmaster; some end by themselves meanwhile."""
    while True:
        backend = max(set(processes_in(stack.data.postgres, name="postgres")) - {postmaster})
        try:
            os.kill(backend, signal.SIGKILL)
        except ProcessLookupError:
            continue
        break
    # Until then the postmaster goes on as if nothing had happened.
    wait_until(lambda: not Path(f"/proc/{backend}").exists(), what="the postmaster has seen it")


def answers(stack: PlaceholderStack) -> bool:
    try:
        return stack.database.run("SELECT 1") == "1"
    except RuntimeError:
        return False


def test_a_killed_service_is_started_again(lasting_stack: PlaceholderStack) -> None:
    before = lasting_stack.services()

    lasting_stack.kill_and_wait("worker-1")

    after = lasting_stack.services()
    assert after["worker-1"]["pid"] != before["worker-1"]["pid"]
    assert after["worker-1"]["restarts"] == before["worker-1"]["restarts"] + 1
    assert after["worker-2"]["restarts"] == before["worker-2"]["restarts"]


@pytest.mark.slow
def test_a_killed_stack_leaves_nobody_and_starts_again(lasting_stack: PlaceholderStack) -> None:
    stack = lasting_stack
    make_stream(stack.nats_url, "stack_kept")
    stack.database.run("CREATE TABLE stack_kept (n INT)")
    for number in range(ROUNDS):
        publish(stack.nats_url, "stack_kept", f"message {number}")
        stack.database.run(f"INSERT INTO stack_kept VALUES ({number})")
        earlier = [(entry["pid"], entry["birth"]) for entry in stack.services().values()]

        stack.kill_supervisor()
        stack.start()

        assert [pid for pid, token in earlier if birth(pid) == token] == []

    assert message_count(stack.nats_url, "stack_kept") == ROUNDS
    assert stack.database.run("SELECT count(*) FROM stack_kept") == str(ROUNDS)


@pytest.mark.slow
def test_everything_killed_at_once_starts_again(lasting_stack: PlaceholderStack) -> None:
    stack = lasting_stack
    stack.database.run("CREATE TABLE everything_kept AS SELECT 1 AS n")
    for _ in range(ROUNDS):
        pids = [entry["pid"] for entry in stack.services().values()]
        stack.kill_supervisor()
        for pid in [*pids, *processes_in(stack.data.postgres, name="postgres")]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        stack.start()

    assert stack.database.run("SELECT n FROM everything_kept") == "1"


def test_a_stale_pid_file_that_names_a_stranger_does_not_stop_postgres(
    lasting_stack: PlaceholderStack,
) -> None:
    stack = lasting_stack
    stack.stop()
    port = stack.data.identity().ports["postgres"]
    (stack.data.postgres / "postmaster.pid").write_text(
        f"{os.getpid()}\n{stack.data.postgres}\n1\n{port}\n\n127.0.0.1\n 1 1\nready   \n"
    )

    stack.start()

    assert stack.database.run("SELECT 1") == "1"


def test_a_port_that_was_taken_meanwhile_is_replaced(lasting_stack: PlaceholderStack) -> None:
    stack = lasting_stack
    stack.database.run("CREATE TABLE port_kept AS SELECT 1 AS n")
    stack.stop()
    before = dict(stack.data.identity().ports)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", before["postgres"]))
        stranger.listen()
        stack.start()

    assert stack.data.identity().ports["postgres"] != before["postgres"]
    assert stack.data.identity().ports["nats"] == before["nats"]
    assert stack.database.run("SELECT n FROM port_kept") == "1"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_can_do_the_same() -> None:
    """Kills of everything at once, as `nobody` and without a home."""
    if not user_can_import(_NOBODY, "pytest"):
        pytest.skip("this checkout is out of reach for other users")
    case = f"{__file__}::{test_everything_killed_at_once_starts_again.__name__}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [*as_user(_NOBODY), sys.executable, "-m", "pytest", case, "-p", "no:cacheprovider"],
            cwd=Path(__file__).parents[3],
            env={
                **os.environ,
                "HOME": "/nonexistent",
                "TMPDIR": folder,
                "KILL_ROUNDS": "1",
                "PYTEST_ADDOPTS": "",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr

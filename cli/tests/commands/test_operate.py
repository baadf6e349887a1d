"""Operator commands and entry points: their answers without a stack, and with one."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg
from noetl.stack import rebuild
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import StackError
from noetl_testkit import stack
from noetl_testkit.bus import flush
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("command", ["migrate", "rebuild", "logs"])
def test_what_needs_a_stack_says_so_at_once(tmp_path: Path, command: str) -> None:
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        identity = directory.identity()
        directory.port(identity, "nats")
        directory.port(identity, "postgres")
        directory.save_identity(identity)

    refused = operator(command, "--data", str(directory.root))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"noetl-server: no {'logs in' if command == 'logs' else 'stack is running on'}" in (
        refused.stderr
    )


@pytest.mark.parametrize(
    ("own", "command", "said"),
    [("nats", "migrate", "POSTGRES_HOST"), ("postgres", "env", "NOETL_NATS_URL")],
)
def test_a_server_that_the_stack_did_not_bring_has_to_be_named(
    tmp_path: Path, own: str, command: str, said: str
) -> None:
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        identity = directory.identity()
        directory.port(identity, own)
        directory.save_identity(identity)

        refused = operator(command, "--data", str(directory.root))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("noetl-server: ")
    assert f"set {said}" in refused.stderr


def test_a_stack_that_has_no_process_yet_is_starting(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    with directory.hold():
        shown = operator("status", "--data", str(directory.root))

    assert (shown.returncode, shown.stdout) == (0, f"a stack is starting on {directory.root}\n")


def test_the_topology_alone_goes_to_stdout(own_nats: NatsServer) -> None:
    done = operator("topology", "--json", NOETL_NATS_URL=own_nats.url, POSTGRES_HOST="nowhere")

    assert done.returncode == 0, done.stderr
    assert "noetl_ingress" in json.loads(done.stdout)["topology"]


async def test_a_rebuild_asks_until_the_walk_is_over(nats_url: str) -> None:
    answers = {
        0: [{"rewritten": 2, "removed": 0, "after": 7}, {"rewritten": 1, "removed": 1}],
        1: [{"rewritten": 4, "removed": 0}],
    }
    asked = []

    async def answer(message: Msg) -> None:
        shard = int(message.subject.split(".")[2])
        asked.append((shard, json.loads(message.data).get("after")))
        body = {"after": None, **answers[shard].pop(0)}
        await message.respond(json.dumps({"status": 200, "body": body}).encode())

    async with await nats.connect(nats_url) as client:
        await client.subscribe("noetl_rpc.projector.*.projection.rebuild", cb=answer)
        await flush(client)
        done = await asyncio.to_thread(rebuild.rebuild, nats_url, shards=2)

    assert asked == [(0, None), (0, 7), (1, None)]
    assert done == rebuild.Rebuilt(rewritten=7, removed=1)


async def test_a_projector_that_refuses_a_rebuild_is_an_error(nats_url: str) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b'{"status": 503, "error": "no database"}')

    async with await nats.connect(nats_url) as client:
        await client.subscribe("noetl_rpc.projector.0.projection.rebuild", cb=answer)
        await flush(client)
        with pytest.raises(StackError, match="shard 0 answered: no database"):
            await asyncio.to_thread(rebuild.rebuild, nats_url)


def operator(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*stack.command(is_warm=True), *words],
        capture_output=True,
        env=os.environ | environment,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "line", "own", "said"),
    [
        ("noetl.server", "NOETL_PORT=many", {}, "must be a number from 1 to 65535, not 'many'"),
        ("noetl.server", "NOETL_PORT=70000", {}, "not '70000'"),
        ("noetl.server", "export NOETL_PORT='many'", {"NOETL_PORT": "few"}, "not 'few'"),
        ("noetl.worker", "NOETL_NATS_URL=there", {}, "NOETL_NATS_URL must look like"),
    ],
)
def test_the_entry_points_read_a_file_of_settings(
    tmp_path: Path, module: str, line: str, own: dict[str, str], said: str
) -> None:
    (tmp_path / ".env").write_text(f"# ours\n{line}\n")
    names = {"NOETL_PORT", "NOETL_NATS_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in names}

    refused = subprocess.run(
        [sys.executable, "-m", module],
        capture_output=True,
        cwd=tmp_path,
        env=environment | own,
        text=True,
        check=False,
    )

    assert (refused.returncode, refused.stdout) == (1, "")
    assert said in refused.stderr


def test_a_worker_that_waits_for_its_stack_says_so_and_can_be_interrupted(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "noetl.worker"],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "NOETL_NATS_URL"},
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=PATIENCE_SECONDS)

    assert said == f"noetl.worker: waiting for a stack on {tmp_path / '.noetl'}\n"
    assert "Traceback" not in rest
    assert process.returncode == 130


def test_the_worker_has_a_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "noetl.worker", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Run a worker" in done.stdout

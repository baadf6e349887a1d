"""An author reads and rewrites the files of another author's running script.

By a query of DuckDB, and by a script where all that can be written is shared, as in a container.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from containers import Container, container
from noetl.stack.process import free_port
from noetl_contract.json import Json
from noetl_testkit.stack import Stack, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for, wait_until
from steps import python_step

pytestmark = pytest.mark.usefixtures("landlock")

_VICTIM = """
import os, socket, subprocess, sys
with open("customers.csv", "w") as file:
    file.write("id,iban\\n1,SECRET-OF-ANOTHER\\n")
with open("helper.py", "w") as file:
    file.write("print('honest')")
with socket.create_server(("127.0.0.1", port)) as server:
    server.settimeout(patience)
    peer, _ = server.accept()
    peer.settimeout(patience)
    peer.sendall(f"{os.getcwd()}\\n".encode())
    peer.recv(1)
told = subprocess.run([sys.executable, "helper.py"], capture_output=True, text=True)
result = {"helper": told.stdout, "files": sorted(os.listdir("."))}
"""
_ATTACK = """
import glob, os
seen = []
def tried(what, *given):
    try:
        seen.append(repr(what(*given))[:200])
    except OSError:
        pass
def read(path):
    with open(path) as file:
        return file.read()
def write(path):
    with open(path, "w") as file:
        file.write("print('code of another')")
places = [theirs, os.path.dirname(theirs) + "/*", f"/proc/self/root{theirs}", f"{theirs}/../*"]
pids = {pid for pid in os.listdir("/proc") if pid.isdigit()} - {str(os.getpid())}
places += [f"/proc/{pid}/cwd" for pid in pids]
os.symlink(theirs, "link")
places.append("link")
for place in places:
    for found in {f"{place}/customers.csv", *glob.glob(f"{place}/customers.csv")}:
        if os.getcwd() not in found:
            tried(read, found)
    tried(write, f"{place}/helper.py")
tried(os.listdir, theirs)
tried(os.listdir, os.path.dirname(theirs))
tried(os.link, f"{theirs}/customers.csv", "mine")
tried(os.rename, f"{theirs}/customers.csv", "mine")
tried(os.unlink, f"{theirs}/customers.csv")
tried(os.mkdir, f"{theirs}/made")
def inside():
    os.chdir(theirs)
    write("helper.py")
    return read("customers.csv")
tried(inside)
result = seen
"""


class Others:
    """A running script of another author, and its last words."""

    def __init__(self, stack: Stack, pool: str | None) -> None:
        self.stack = stack
        self.pool = pool
        self.directory = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it around the attack; its files must be its own afterwards."""
        port = free_port()
        with self.stack.client() as client:
            victim = python_step("others/work", _VICTIM, port=port, patience=PATIENCE_SECONDS)
            register(client, victim)
            execution = self._start(client, "others/work")
            peer = wait_for(lambda: _connected(port), what="the script listens")
            with peer:
                peer.settimeout(PATIENCE_SECONDS)
                self.directory = peer.recv(4096).decode().strip()
                yield
                peer.sendall(b".")
            assert finish(client, execution) == "COMPLETED"
            found = _data(client, execution)
        assert found == {"helper": "honest\n", "files": ["customers.csv", "helper.py"]}

    def attack(self, playbook: str, path: str) -> tuple[str, int]:
        """Run a playbook; return its status and execution."""
        with self.stack.client() as client:
            register(client, playbook)
            execution = self._start(client, path)
            return finish(client, execution), execution

    def script(self, code: str) -> Json:
        """Run a script that knows the other one's directory, and return its result."""
        step = python_step("attacker/peek", code, theirs=self.directory)
        status, execution = self.attack(step, "attacker/peek")
        assert status == "COMPLETED"
        with self.stack.client() as client:
            return _data(client, execution)

    def query(self, text: str, db_path: str = "") -> str:
        """Run a query of DuckDB and return the status of its execution."""
        given = f"      db_path: {db_path}\n" if db_path else ""
        playbook = (
            "apiVersion: noetl.io/v2\nkind: Playbook\n"
            "metadata: {name: attack, path: attacker/query}\n"
            "workflow:\n  - step: start\n    tool:\n      kind: duckdb\n"
            f"{given}      query: |\n        {text}\n"
        )
        return self.attack(playbook, "attacker/query")[0]

    def _start(self, client: httpx.Client, path: str) -> int:
        body = {"path": path, **({"execution_pool": self.pool} if self.pool else {})}
        return int(client.post("/api/execute", json=body).raise_for_status().json()["execution_id"])


def _connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), 5)
    except OSError:
        return None


def _data(client: httpx.Client, execution: int) -> Json:
    events = client.get(f"/api/executions/{execution}/events", params={"limit": 200}).json()
    (found,) = (
        event["result"]["context"]["result"]["context"]
        for event in events["events"]
        if event["event_type"] == "call.done"
    )
    data: Json = found["data"]
    return data


def _queries(others: Others) -> None:
    """Try the other's directory by all that DuckDB opens files for."""
    theirs = others.directory
    parent, name = Path(theirs).parent, Path(theirs).name
    assert others.query("SELECT 1 AS a") == "COMPLETED"
    for place in (theirs, f"{parent}/noetl-python-*", f"/proc/self/root{theirs}", f"{theirs}/../*"):
        for text in (
            f"SELECT * FROM read_text('{place}/customers.csv')",
            f"SELECT * FROM read_csv('{place}/*.csv')",
            f"SELECT * FROM glob('{place}/*')",
            f"ATTACH '{place}/customers.csv' AS other",
            f"COPY (SELECT 'print(0)') TO '{place}/helper.py' (FORMAT CSV, HEADER false)",
            f"EXPORT DATABASE '{place}/made'",
        ):
            assert others.query(text) == "FAILED", text
    assert others.query("CREATE TABLE t (a int)", db_path=f"{theirs}/made.duckdb") == "FAILED"
    assert others.query("CREATE TABLE t (a int)", db_path=f"{theirs}/../{name}/x.db") == "FAILED"


@pytest.mark.slow
def test_by_default_queries_and_scripts_reach_no_script_of_others(nats_stack: Stack) -> None:
    others = Others(nats_stack, None)
    with others.running():
        _queries(others)
        assert others.script(_ATTACK) == []


@contextmanager
def _workers(
    stack: Stack, one: Container, count: int, log: Path, **environment: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers of a pool of their own in a container each, or in one."""
    with ExitStack() as ending:
        made = []
        for number in range(count):
            process = stack.start_worker(
                f"boxed-{number}",
                log=log,
                within=one.within,
                WORKER_POOL_NAME="boxed",
                **one.environment,
                **environment,
            )
            ending.callback(process.wait, 60)
            ending.callback(process.kill)
            made.append(process)
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_in_a_container_they_reach_none_either(
    nats_stack: Stack, tmp_path: Path, count: int
) -> None:
    others = Others(nats_stack, "boxed")
    with (
        container() as one,
        _workers(
            nats_stack,
            one,
            count,
            tmp_path / "log",
            NOETL_WORKER_SCRIPT_DIRECTORY=one.place,
        ),
    ):
        for _ in range(count):
            with others.running():
                assert others.directory.startswith(f"{one.place}/")
                _queries(others)
                # Some of them on the same worker, if there are two.
                assert [others.script(_ATTACK) for _ in range(2 * count)] == [[]] * 2 * count


@pytest.mark.slow
def test_a_container_without_a_place_for_them_does_not_start(
    nats_stack: Stack, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with container() as one, _workers(nats_stack, one, 1, log) as (process,):
        wait_until(lambda: process.poll() is not None, what="the worker has ended")

    assert process.returncode == 1
    text = log.read_text()
    assert "NOETL_WORKER_SCRIPT_DIRECTORY" in text
    assert "which all scripts may change by NOETL_WORKER_SCRIPT_WRITE_PATHS" in text

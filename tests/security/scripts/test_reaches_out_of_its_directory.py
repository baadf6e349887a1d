"""A script looks for passwords in the files and processes of the stack it runs in.

The stack's processes run under the script's user. They hold the key of stored secrets, the
passwords of PostgreSQL and NATS, and the memory of scripts of other executions.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS
from steps import pids, python_step, result_of

_TRY = """
    import os, signal, socket, subprocess
    def tried(what):
        try:
            return repr(what())[:200]
        except OSError as error:
            return type(error).__name__
    def read(path):
        with open(path, "rb") as file:
            return file.read(64)
"""

pytestmark = pytest.mark.usefixtures("landlock")


def run(stack: Stack, name: str, code: str, **arguments: Any) -> Any:
    path = f"security/scripts/{name}"
    with stack.client() as client:
        return result_of(client, path, python_step(path, _TRY + code, **arguments))


def test_the_files_of_the_stack_are_refused(nats_stack: Stack) -> None:
    code = """
    result = {name: tried(lambda: read(name)) for name in files}
    result["list"] = tried(lambda: os.listdir(folder))
    os.symlink(files[0], "link")
    result["by link"] = tried(lambda: read("link"))
    result["by shell"] = subprocess.run(["cat", files[0]], capture_output=True).stdout.decode()
    """
    files = [str(nats_stack.data / "identity.json"), str(Path.home() / ".bashrc")]

    found = run(nats_stack, "files", code, files=files, folder=str(nats_stack.data))

    assert set(found.values()) == {"PermissionError", ""}
    assert found["by shell"] == ""


def test_processes_of_the_stack_show_nothing_and_take_no_signal(nats_stack: Stack) -> None:
    code = """
    result = {}
    for name, pid in pids.items():
        for file in ("environ", "mem", "maps"):
            result[f"{name} {file}"] = tried(lambda: read(f"/proc/{pid}/{file}"))
        result[f"{name} files"] = tried(lambda: os.readlink(f"/proc/{pid}/fd/1"))
        result[f"{name} signal"] = tried(lambda: os.kill(pid, 0))
    """
    before = pids(nats_stack)

    found = run(nats_stack, "processes", code, pids=before)

    assert set(found.values()) == {"PermissionError"}
    assert len(found) == 5 * len(before)


def test_the_parent_of_a_script_takes_no_signal_and_shows_nothing(nats_stack: Stack) -> None:
    code = """
    parent = os.getppid()
    result = {
        "kill": tried(lambda: os.kill(parent, signal.SIGKILL)),
        "environ": tried(lambda: read(f"/proc/{parent}/environ")),
        "mem": tried(lambda: read(f"/proc/{parent}/mem")),
    }
    """

    assert set(run(nats_stack, "parent", code).values()) == {"PermissionError"}


def test_a_script_can_do_what_scripts_do(nats_stack: Stack) -> None:
    code = """
    import json, tempfile, sqlite3, urllib.request, multiprocessing
    open("mine", "w").write("1")
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("2"); file.seek(0); second = file.read()
    database = sqlite3.connect("x.db"); database.execute("CREATE TABLE t (n)"); database.close()
    result = {
        "own": open("mine").read(),
        "temporary": second,
        "shell": subprocess.run(
            "echo 3 | cat /dev/stdin; head -c 1 /etc/hosts > x && wc -c < x",
            shell=True, capture_output=True, text=True).stdout.split(),
        "http": urllib.request.urlopen(url + "/healthz", timeout=20).status,
        "name": bool(socket.getaddrinfo("localhost", 80)),
        "self": len(os.listdir("/proc/self/fd")) > 2,
    }
    """

    found = run(nats_stack, "usual", code, url=nats_stack.url)

    assert found == {
        "own": "1", "temporary": "2", "shell": ["3", "1"], "http": 200, "name": True, "self": True,
    }  # fmt: skip


def test_the_worker_tells_what_it_enforces(nats_stack: Stack) -> None:
    port = nats_stack.services()["worker"]["port"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS).text

    for feature in ("files", "neighbours", "signals"):
        assert f'noetl_worker_script_isolation{{feature="{feature}"}} 1.0' in text


def test_nothing_is_heard_of_what_passes_between_the_services(nats_stack: Stack) -> None:
    code = """
    result = {
        "packets": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)),
        "raw": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)),
    }
    """

    assert set(run(nats_stack, "packets", code).values()) == {"PermissionError"}

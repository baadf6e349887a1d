"""The real command line from PyPI against the stack (contract: cli-contract, A2 and A3)."""

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, finish, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SLOW = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: cli/slow}
workflow:
  - step: start
    tool: {kind: python, code: "import time\\ntime.sleep(30)\\nresult = {}"}
"""


@pytest.fixture(scope="module")
def noetl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real binary in a throwaway environment: it must not share ours (design 6)."""
    folder = tmp_path_factory.mktemp("real-cli")
    venv.create(folder, with_pip=True)
    done = subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", "noetl"],
        capture_output=True,
        timeout=150,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"the package index is not reachable: {done.stderr.decode()[-200:]}")
    return folder / "bin" / "noetl"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        yield running


def run(noetl: Path, stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command against the stack."""
    return subprocess.run(
        [str(noetl), "--server-url", stack.url, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # In the checkout the CLI would take "examples/hello" for the file of that name.
        cwd=noetl.parent.parent,
        env={"HOME": str(noetl.parent.parent), "PATH": "/usr/bin:/bin"},
    )


def test_register_run_and_status(noetl: Path, stack: Stack, pytestconfig: pytest.Config) -> None:
    example = pytestconfig.rootpath / "examples" / "hello.yaml"

    registered = run(noetl, stack, "register", "playbook", "--file", str(example))
    assert registered.returncode == 0, registered.stderr
    assert "Playbook registered successfully" in registered.stdout
    listed = run(noetl, stack, "list", "Playbook", "--json")
    assert listed.returncode == 0
    assert "examples/hello" in listed.stdout
    started = run(noetl, stack, "run", "examples/hello", "-r", "distributed", "--json")
    assert started.returncode == 0, started.stderr
    execution_id = json.loads(started.stdout)["execution_id"]
    with stack.client() as client:
        finish(client, int(execution_id))
    human = run(noetl, stack, "status", execution_id)
    assert human.returncode == 0
    assert "COMPLETED" in human.stdout
    assert "2 completed" in human.stdout
    body = json.loads(run(noetl, stack, "status", execution_id, "--json").stdout)
    assert body["status"] == "COMPLETED"


def test_cancel_a_running_execution(noetl: Path, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW)
    assert run(noetl, stack, "register", "playbook", "--file", str(file)).returncode == 0
    started = run(noetl, stack, "run", "cli/slow", "-r", "distributed", "--json")
    execution_id = json.loads(started.stdout)["execution_id"]

    cancelled = run(noetl, stack, "cancel", execution_id)

    assert cancelled.returncode == 0, cancelled.stderr
    assert "Cancelled: 1 execution(s)" in cancelled.stdout
    body = json.loads(run(noetl, stack, "status", execution_id, "--json").stdout)
    assert body["status"] == "CANCELLED"
    assert run(noetl, stack, "cancel", execution_id).returncode == 1


def test_unknown_things_end_as_the_contract_says(noetl: Path, stack: Stack) -> None:
    missing = run(noetl, stack, "run", "no/such/playbook", "-r", "distributed")
    assert missing.returncode == 1
    assert "Playbook not found: no/such/playbook" in missing.stderr
    assert run(noetl, stack, "status", "1").returncode == 0
    assert run(noetl, stack, "cancel", "1").returncode == 1


def test_catalog_and_database_commands(noetl: Path, stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(SLOW.replace("cli/slow", "cli/loaded"))
    (tmp_path / "listener.yaml").write_text(
        "kind: Subscription\nmetadata: {name: s, path: cli/listener}\n"
        "spec: {source: nats, mode: pull, dispatch: {playbook: cli/loaded}}\n"
    )
    good = run(noetl, stack, "catalog", "load", str(tmp_path))
    (tmp_path / "bad.yaml").write_text("a: 1\n")
    mixed = run(noetl, stack, "catalog", "load", str(tmp_path))

    assert (good.returncode, mixed.returncode) == (0, 1)
    assert "registered 2, failed 0" in good.stdout
    assert "cli/loaded v2" in mixed.stdout
    assert "bad.yaml: Missing 'metadata' section" in mixed.stdout
    entry = json.loads(run(noetl, stack, "catalog", "get", "cli/loaded").stdout)
    assert (entry["version"], entry["payload"]) == (2, None)
    listeners = run(noetl, stack, "--gateway", "catalog", "list", "Subscription")
    assert "cli/listener" in listeners.stdout

    query = (
        "SELECT path, max(version) AS v FROM catalog WHERE path LIKE 'cli/l%' GROUP BY 1 ORDER BY 1"
    )
    rows = json.loads(run(noetl, stack, "query", query, "--format", "json").stdout)
    assert rows == {
        "status": "ok",
        "result": [{"path": "cli/listener", "v": 2}, {"path": "cli/loaded", "v": 2}],
    }
    written = run(noetl, stack, "query", "DELETE FROM catalog")
    assert (written.returncode, "read-only transaction" in written.stderr) == (1, True)
    for arguments in (("db", "init"), ("db", "validate")):
        done = run(noetl, stack, *arguments)
        assert (done.returncode, '"valid": true' in done.stdout) == (0, True), done.stdout


def test_this_environment_has_no_real_cli() -> None:
    assert not Path(sys.executable).with_name("noetl").exists()

"""The real command line from PyPI against the stack it started."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import nats
import pytest
import yaml
from nats.js.api import AckPolicy, ConsumerConfig
from noetl.stack.process import free_port
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import wait_for, wait_until
from real_cli import FAILS, PARENT, QUICK, WAITS, Cli, installed_in

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_in(tmp_path_factory.mktemp("real-cli"))


@pytest.fixture(scope="module")
def plain(home: Path) -> Iterator[Cli]:
    """The binary without options, with the server and the worker that it started itself."""
    cli = Cli(home / "bin" / "noetl", home, Stack(home / ".noetl", port=free_port()))
    try:
        # "--init-db" asks a server that is only just starting: a warning, never a failure.
        cli("server", "start", "--init-db", said="Server started with PID")
        cli("worker", "start", "-m", "2", said="Worker 'default' started with PID")
        wait_for_worker(cli.stack)
        yield cli
    finally:
        cli("worker", "stop", "--name", "default", "--force", said="worker stopped successfully")
        cli("server", "stop", answer="y\n", said="server stopped successfully")
    with cli.stack.client() as client, pytest.raises(httpx.ConnectError):
        client.get("/api/health")
    assert not list((home / ".noetl").glob("*.pid"))
    assert "No running NoETL server found" in "".join(cli.ended("server", "stop"))


@pytest.fixture(params=["api", "noetl"])
def cli(request: pytest.FixtureRequest, plain: Cli) -> Cli:
    """The binary as it speaks to a server, and as it speaks to a gateway."""
    options: tuple[str, ...] = ("--server-url", f"{plain.stack.url}/")
    if request.param == "noetl":
        options += ("--gateway", "--session-token", "a-token")
    return replace(plain, options=options, root=f"cli/{request.param}")


def wait_for_worker(stack: Stack) -> None:
    """Wait until the edge knows a worker."""
    with stack.client() as client:

        def is_known() -> bool:
            try:
                answer = client.get("/api/worker/pools")
            except httpx.TransportError:
                return False
            return answer.status_code == 200 and bool(answer.json())

        wait_until(is_known, what="a worker came")


def test_register_run_and_status(cli: Cli, pytestconfig: pytest.Config) -> None:
    example = str(pytestconfig.rootpath / "examples" / "hello.yaml")
    cli("catalog", "register", example, said="Playbook registered successfully")
    execution_id = cli.end("examples/hello")

    # The id is printed with its quotes in JSON: scripts copy the line.
    cli("run", "examples/hello", "-r", "distributed", said='noetl status "')
    for command in (("status",), ("execute", "status")):
        human = cli(*command, execution_id, said="COMPLETED")
        assert "2 completed" in human
        assert "Duration:  0s" in human
        assert "  - start\n  - end\n" in human
    body = cli.json("status", execution_id, "--json")
    assert (body["status"], body["completed"], body["failed"]) == ("COMPLETED", True, False)
    assert str(body["execution_id"]) == execution_id
    assert isinstance(body["execution_id"], str if "noetl" in cli.root else int)
    assert "error" not in body


def test_a_failed_execution_says_why(cli: Cli) -> None:
    execution_id = cli.end(cli.register(FAILS, "fails"))

    human = cli("status", execution_id, said="FAILED")
    assert re.search(r"Error: +\S.*iterable", human), human
    body = cli.json("status", execution_id, "--json")
    assert (body["status"], body["completed"], body["failed"]) == ("FAILED", True, True)
    assert "iterable" in body["error"]


def test_what_run_sends_is_what_runs(cli: Cli) -> None:
    path = cli.register(QUICK, "quick")
    assert cli.register(QUICK, "quick") == path
    (cli.home / "in.json").write_text('{"a": 2, "x": 1, "y": 1}')
    arguments = ["-i", "in.json", "--payload", '{"x": 2, "y": 2}', "--set", "y=007"]
    arguments += ["--set", "b.c=true", "--set", "n=null", "--set", "l=[1]"]

    execution_id = cli.end(path, *arguments, "-V", "1")
    old = cli.start(f"catalog://{path}@1")
    new = [cli.start(path), cli.start(path, "-V", "latest")]
    others = (("exec", path, "-r", "distributed"), ("execute", "playbook", path))
    new += [cli.json(*command, "--json")["execution_id"] for command in others]

    with cli.stack.client() as client:
        detail = client.get(f"/api/executions/{execution_id}").json()
        versions = [client.get(f"/api/executions/{one}").json()["version"] for one in [old, *new]]
    assert detail["version"] == 1
    assert detail["workload"] == {
        "a": 2, "b": {"c": True}, "x": 2, "y": "007", "n": None, "l": [1]
    }  # fmt: skip
    assert versions == [1, 2, 2, 2, 2]
    # A file in distributed mode sends its bare name, and no call is made for a dry run.
    run = ("run", "-r", "distributed")
    cli(*run, "./one.yaml", code=1, said="404 Not Found - ")
    cli(*run, path, "-V", "9", code=1, said=f"Playbook not found: {path}")
    cli(*run, "no/such/playbook", "--dry-run", said="[DRY RUN] Would execute with:")
    cli(*run, "no/such/playbook", code=1, said="Playbook not found: no/such/playbook")
    cli("run", path, "-r", "local", code=1, said="Local runtime requires a file path")


def test_rerun_goes_on_from_the_stored_workload(cli: Cli) -> None:
    execution_id = cli.end(cli.register(QUICK, "again"), "--set", "b.c=5", "--set", "z=1")
    (cli.home / "over.json").write_text('{"a": 9}')

    rerun = ("execute", "rerun")
    again = cli.json(*rerun, execution_id, "-i", "over.json", "--json")["execution_id"]
    cli(*rerun, execution_id, said="Rerun started:")
    cli(*rerun, "1", code=1, said="Failed to rerun execution: 404 Not Found - ")

    with cli.stack.client() as client:
        detail = client.get(f"/api/executions/{again}").json()
    assert detail["workload"] == {"a": 9, "b": {"c": 5}, "z": 1}


def test_cancel_with_and_without_children(cli: Cli) -> None:
    parent = cli.register(PARENT, "parent")
    child = cli.register(WAITS, "parent/waits", above="system/")
    execution_id, alone = cli.start(parent), cli.start(child)
    with cli.stack.client() as client:
        child_id = wait_for_child(client, child, execution_id)

    human = cli("cancel", execution_id, "--cascade", "--reason", "why not", said="CANCELLED")
    assert "Cancelled: 2 execution(s)" in human
    assert "Reason:    why not" in human
    assert f"  - {execution_id}\n  - {child_id}\n" in human
    body = cli.json("cancel", alone, "--json")
    assert (body["status"], body["cancelled_executions"]) == ("cancelled", [alone])

    assert "cancelled" in cli("status", execution_id, said="FAILED")
    assert cli.json("status", alone, "--json")["status"] == "CANCELLED"
    cli("cancel", alone, code=1, said="422 Unprocessable Entity - ")
    cli("cancel", "1", code=1, said="404 Not Found - ")


def wait_for_child(client: httpx.Client, path: str, parent_id: str) -> str:
    """Wait until the child has begun and return its id."""

    def child() -> str | None:
        for entry in client.get("/api/executions", params={"path": path}).json():
            if str(entry["parent_execution_id"]) == parent_id:
                return str(entry["execution_id"])
        return None

    return wait_for(child, what=f"{parent_id} has a child {path}")


async def test_cleanup_finds_what_runs_for_too_long(cli: Cli) -> None:
    execution_id = cli.start(cli.register(WAITS, "stuck", above="system/"))
    database = await asyncpg.connect(cli.stack.dsn())
    await database.execute(
        "UPDATE noetl.execution_state SET started_at = started_at - interval '1 hour'"
        " WHERE execution_id = $1",
        int(execution_id),
    )
    await database.close()

    for arguments in (["--dry-run"], ["--older-than-minutes", "9"]):
        human = cli("cleanup", *arguments, said="Found:         1 stuck execution(s)")
        assert f"Execution IDs:\n  - {execution_id}\n" in human
    assert cli.json("status", execution_id, "--json")["status"] == "CANCELLED"
    body = cli.json("cleanup", "--json")
    assert (body["cancelled_count"], body["execution_ids"]) == (0, [])
    cli("cleanup", "--older-than-minutes", "0", code=1, said="422 Unprocessable Entity - ")


def test_what_is_refused_without_a_failing_exit_code(cli: Cli) -> None:
    """Run commands whose exit code is always 0: only their text shows the refusal."""
    missing = {
        ("status", "1"): "Failed to get status: 404 Not Found - ",
        ("execute", "status", "1"): "Failed to get status: 404 Not Found - ",
        ("status", "abc"): "Failed to get status: 400 Bad Request - ",
        ("catalog", "get", "no/such"): "Failed to get catalog resource: 404 Not Found - ",
        ("get", "credential", "no-such"): "Failed to get credential: 404 Not Found - ",
    }
    for arguments, text in missing.items():
        assert text in cli(*arguments)


def test_catalog_commands(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    one, other = f"{cli.root}/loaded/one", f"{cli.root}/loaded/listener"
    (tmp_path / "below" / "good.yml").write_text(QUICK.replace("PATH", one))
    (tmp_path / "listener.yaml").write_text(
        f"kind: Subscription\nmetadata: {{name: s, path: {other}}}\n"
        f"spec: {{source: nats, mode: pull, dispatch: {{playbook: {one}}}}}\n"
    )
    load = ("catalog", "load", str(tmp_path))
    cli(*load, "--dry-run", said="discovered 2 resource(s)")
    cli(*load, "--batch-size", "1", said="registered 2, failed 0")
    cli("register", "playbook", "--directory", str(tmp_path), said="0 failed")
    (tmp_path / "bad.yaml").write_text("a: 1\n")
    mixed, _ = cli.ended(*load, code=1)

    assert f"good.yml -> {one} v3" in mixed
    assert "bad.yaml: Missing 'metadata' section" in mixed
    assert "registered 2, failed 1" in mixed
    cli("catalog", "register", str(tmp_path / "bad.yaml"), code=1, said="Missing 'metadata' sect")
    entry = json.loads(cli("catalog", "get", one))
    assert (entry["version"], entry["kind"]) == (3, "playbook")
    for command in (("list", "Playbook"), ("catalog", "list", "Playbook")):
        entries = cli.json(*command, "--json")["entries"]
        assert [e["version"] for e in entries if e["path"] == one] == [3, 2, 1]
        assert other not in {entry["path"] for entry in entries}
        cli(*command, said="Catalog (Playbook):")
    assert other in cli("catalog", "list", "Subscription")
    assert cli.json("list", "Credential", "--json") == {"entries": []}


def test_credentials(cli: Cli, tmp_path: Path) -> None:
    name = f"{cli.root.replace('/', ' ')} secret"  # a slash would not be encoded
    one = {"name": name, "type": "generic", "data": {"token": "s3cret"}, "tags": ["x"]}
    (tmp_path / "one.json").write_text(json.dumps(one))
    # The CLI takes a file for a credential when these words stand in it.
    two = {"name": f"{cli.root}-2", "type": "bearer", "data": {}, "description": "kind: Credential"}
    (tmp_path / "two.json").write_text(json.dumps(two))

    register = ("register", "credential")
    cli(*register, "--file", str(tmp_path / "one.json"), said="Credential registered successfully")
    cli(*register, "--directory", str(tmp_path), said="2 succeeded, 0 failed")
    detected = ("catalog", "register", str(tmp_path / "two.json"))
    assert "s3cret" not in cli(*detected, said="Credential registered successfully")
    cli("catalog", "register", str(tmp_path / "one.json"), code=1, said="Missing 'metadata'")

    body = json.loads(cli("get", "credential", name))
    assert {key: body[key] for key in one} == one
    assert isinstance(body["id"], str)


def test_query_and_database_commands(cli: Cli) -> None:
    path = cli.register(QUICK, "queried")
    query = ("query", f"SELECT path, version AS v FROM catalog WHERE path = '{path}'")
    rows = {"status": "ok", "result": [{"path": path, "v": 1}]}
    assert cli.json(*query, "--format", "json") == rows
    # A table is drawn of lists only; ours are objects, as the scripts need them.
    assert cli(*query) == ""
    cli("query", "SELECT 1 AS n WHERE false", said="(0 rows)")
    where = cli.json("query", "SELECT current_schema() AS s", "-s", "public", "--format", "json")
    assert where["result"] == [{"s": "public"}]
    failed = "Failed to execute query: "
    for text, status in (("SELECT nope", "500 Int"), ("DELETE FROM catalog", "403 Forbidden - ")):
        cli("query", text, "--format", "json", code=1, said=failed + status)
    for arguments in (("db", "init"), ("db", "validate")):
        cli(*arguments, said='"valid": true')


def test_ehdb_queries(cli: Cli) -> None:
    execution_id = cli.end(cli.register(QUICK, "ehdb"))
    query = ("ehdb", "query")

    table = cli(*query, "executions", "--status", "COMPLETED", "--limit", "1")
    (row,) = (line for line in table.splitlines() if execution_id in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:4] == ["COMPLETED", f"{cli.root}/ehdb", "13"]
    state = cli(*query, "execution", execution_id, said=f"Execution {execution_id}\n")
    shown = dict(re.findall(r"^  (\w+): +(\S+)$", state, re.MULTILINE))
    assert {"status": "COMPLETED", "terminal": "true", "event_count": "13"}.items() <= shown.items()
    assert (shown["path"], shown["current_node"]) == (f"{cli.root}/ehdb", "end")
    events = cli(*query, "events", execution_id, "--limit", "2", said="(2 rows)")
    assert re.search(r"playbook_started .*│ STARTED ", events)
    first = cli.json(*query, "events", execution_id, "--limit", "1", "--json")["events"][0]
    after = ("--after", str(first["event_id"]))
    rest = cli.json(*query, "events", execution_id, *after, "--json")["events"]
    assert [event["event_id"] for event in rest].count(first["event_id"]) == 0
    assert rest[-1]["event_type"] == "playbook.completed"
    for arguments in (("execution", "1"), ("events", "1"), ("tier", "kv")):
        cli(*query, *arguments, code=1, said="EHDB query failed: 404 Not Found - ")


def test_contexts_and_login(plain: Cli) -> None:
    """The edge plays no gateway, but `context init` can read its answers."""
    path = replace(plain, options=("--server-url", plain.stack.url)).register(QUICK, "context")
    init = ("context", "init", "ours", "--from-gateway", plain.stack.url, "--yes")
    plain(*init, "--set-current", said="Context 'ours' written.")
    plain("context", "current", said=f"Server URL: {plain.stack.url}")

    # The context says where and how: neither the server nor the runtime is named.
    assert plain.json("run", path, "--json")["status"] == "started"
    login = ("auth", "login", "--auth0-token", "abc")
    plain(*login, code=1, said="/api/auth/login: 501 Not Implemented - ")
    plain("auth", "logout", said="Cleared cached gateway session token")
    plain("context", "delete", "ours", said="deleted")


async def test_subscribe_starts_a_playbook_per_message(plain: Cli) -> None:
    path = replace(plain, options=("--server-url", plain.stack.url)).register(QUICK, "subscribed")
    address = plain.stack.values()["NOETL_NATS_URL"]
    broker = await nats.connect(address)
    stream = broker.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.>"])
    durable = ConsumerConfig(durable_name="cli", ack_policy=AckPolicy.EXPLICIT)
    await stream.add_consumer("ORDERS", durable)
    await stream.publish("orders.new", b'{"order": 7}', headers={"X-Kind": "test"})
    parts = urlsplit(address)
    spec = {
        "source": "nats", "mode": "pull", "stream": "ORDERS", "consumer": "cli",
        "url": f"nats://{parts.hostname}:{parts.port}",
        "user": parts.username, "password": parts.password,
        "dispatch": {"playbook": path},
    }  # fmt: skip
    document = {"kind": "Subscription", "metadata": {"name": "orders"}, "spec": spec}
    (plain.home / "orders.yaml").write_text(yaml.safe_dump(document))

    once = ("--once", "--max-messages", "1", "--events", "events.jsonl")
    to = ("--dispatch", "server", "--server-url", plain.stack.url)
    plain("subscribe", "orders.yaml", *to, *once)

    with plain.stack.client() as client:
        (entry,) = client.get("/api/executions", params={"path": path}).json()
        workload = client.get(f"/api/executions/{entry['execution_id']}").json()["workload"]
    left = (await stream.consumer_info("ORDERS", "cli")).num_ack_pending
    await broker.close()
    assert left == 0
    assert (workload["order"], workload["a"], workload["source"]) == (7, 1, "nats")
    assert workload["message"]["data"] == {"order": 7}
    assert workload["message"]["headers"] == {"x-kind": "test"}


def test_nobody_there_and_nothing_asked(plain: Cli) -> None:
    away = replace(plain, options=("--host", "127.0.0.1", "--port", "1"))
    for arguments in (("status", "1"), ("list", "Playbook"), ("query", "SELECT 1")):
        away(*arguments, code=1, said="error sending request")
    plain("status", code=2, said="required arguments were not provided")


def test_server_and_worker_are_started_once(plain: Cli) -> None:
    again = "already running with PID"
    assert again in "".join(plain.ended("server", "start"))
    assert again in "".join(plain.ended("worker", "start"))
    assert "1. default (PID: " in "".join(plain.ended("worker", "stop", answer="n\n"))
    plain("server", "stop", answer="n\n", said="Operation cancelled")
    with plain.stack.client() as client:
        assert client.get("/api/health").json()["status"] == "ok"


def test_this_environment_has_no_real_cli() -> None:
    assert not Path(sys.executable).with_name("noetl").exists()

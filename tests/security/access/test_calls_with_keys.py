"""Strangers call a stack that others reach; holders of keys ask for more than their rights."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from noetl_contract.json import Json
from noetl_testkit.stack import Stack, command, execute, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.web import Request, Response, serving

_TOKEN = "internal-token-of-this-test"
_HELLO = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: hello, path: "{path}"}}
workflow:
- step: start
  tool: {{kind: python, code: "result = {{'said': 'hello'}}"}}
"""
_STEAL = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: steal, path: "{path}"}}
workload: {{url: ""}}
workflow:
- step: start
  tool: {{kind: http, url: "{{{{ workload.url }}}}", auth: {auth}}}
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {
        "NOETL_AUTH": "on",
        "NOETL_AUTH_CACHE_SECONDS": "60",
        "NOETL_INTERNAL_API_TOKEN": _TOKEN,
        "NOETL_KEYCHAIN_ENV_VARS": "NOETL_INTERNAL_API_TOKEN",
    }
    with running_stack(environment=environment) as running:
        yield running


def _server(*words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "NOETL_SESSION_TOKEN"}
    if token is not None:
        env["NOETL_SESSION_TOKEN"] = token
    return subprocess.run(
        [*command(is_warm=True), *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def _made(stack: Stack, name: str, *words: str) -> str:
    done = _server("key", "create", name, *words, "--data", str(stack.data))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_key_of_the_administrator_is_shown_once(stack: Stack) -> None:
    line = f"export NOETL_SESSION_TOKEN={stack.admin_key()}"
    # It comes a moment after the services are ready.
    wait_until(lambda: line in stack.log(), what="the key is shown")
    assert json.loads((stack.data / "identity.json").read_text())["is_admin_key_shown"] is True


def test_nobody_does_nothing(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(_HELLO.format(path="keys/nobody"))
    with stack.client("") as client:
        answers = {
            path: client.get(path)
            for path in (
                "/api/executions",
                "/api/credentials",
                "/api/admin/keys",
                "/api/internal/access-audit",
                "/api/worker/pools",
            )
        }
    run = _server("run", str(file), "--server-url", stack.url)
    wrong = _server("run", str(file), "--server-url", stack.url, token="nk_0_" + "x" * 43)

    assert {answer.status_code for answer in answers.values()} == {401}
    assert answers["/api/executions"].headers["www-authenticate"].startswith("Bearer")
    for done in (run, wrong):
        assert done.returncode == 1
        assert "the server wants a login" in done.stderr
        assert "NOETL_SESSION_TOKEN" in done.stderr


def test_a_key_runs_a_playbook_and_is_of_no_use_once_it_is_revoked(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(_HELLO.format(path="keys/mine"))
    token = _made(stack, "author", "--role", "author", "--namespace", "keys/")
    run = _server("run", str(file), "--server-url", stack.url, token=token)
    with stack.client(token) as client:
        before = client.get("/api/executions")
        gone = _server("key", "revoke", token, "--data", str(stack.data))
        wait_until(
            lambda: client.get("/api/executions").status_code == 401,
            what="the revoked key is refused",
            # Told, it takes milliseconds, which a busy machine makes more of; untold, a minute.
        )
    listed = _server("key", "list", "--data", str(stack.data))
    revoked = _server("key", "list", "--revoked", "--json", "--data", str(stack.data))

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["said"] == "hello"
    assert before.status_code == 200
    assert gone.returncode == 0, gone.stderr
    assert token not in listed.stdout + revoked.stdout
    assert "author" not in [line.split()[1] for line in listed.stdout.splitlines()]
    assert any(key["name"] == "author" and key["revoked_at"] for key in json.loads(revoked.stdout))


def test_tools_have_the_rights_of_the_key(stack: Stack) -> None:
    with stack.client() as admin:
        for path in ("tools-a/tool", "tools-b/tool"):
            text = _HELLO.format(path=path)
            register(admin, text.replace("hello, ", "hello, agent: true, capabilities: [mcp], "))
    token = _made(stack, "looks", "--role", "viewer", "--namespace", "tools-a/")

    def asked(client: httpx.Client, method: str, **params: Json) -> httpx.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return client.post("/mcp", json=message)

    with stack.client(token) as client, stack.client("") as nobody:
        tools = asked(client, "tools/list").json()["result"]["tools"]
        called = asked(client, "tools/call", name="tools-a_tool", arguments={}).json()["result"]
        hidden = asked(client, "tools/call", name="tools-b_tool", arguments={}).json()
        unknown = asked(nobody, "initialize")

    assert {one["name"] for one in tools} == {"noetl_execution", "tools-a_tool"}
    assert called["isError"] is True
    assert "executions.start" in called["content"][0]["text"]
    assert hidden["error"]["message"] == "Unknown tool: tools-b_tool"
    assert unknown.status_code == 401


def test_a_key_sees_its_namespaces_only(stack: Stack) -> None:
    with stack.client() as admin:
        ids = {}
        for path in ("keys-a/x", "keys-ab/x", "keys-b/x"):
            register(admin, _HELLO.format(path=path))
            ids[path] = execute(admin, path)
            assert finish(admin, ids[path]) == "COMPLETED"
    token = _made(stack, "scoped", "--role", "author", "--namespace", "keys-a/")
    with stack.client(token) as client:
        seen = [one["path"] for one in client.get("/api/executions?page_size=1000").json()]
        entries = client.post("/api/catalog/list", json={}).json()["entries"]
        theirs = ids["keys-b/x"]
        statuses = {
            "detail": client.get(f"/api/executions/{theirs}").status_code,
            "status": client.get(f"/api/executions/{theirs}/status").status_code,
            "stream": client.get(f"/api/executions/{theirs}/events/stream").status_code,
            "cancel": client.post(f"/api/executions/{theirs}/cancel", json={}).status_code,
            "start": client.post("/api/execute", json={"path": "keys-b/x"}).status_code,
            "register": client.post(
                "/api/catalog/register", json={"content": _HELLO.format(path="keys-b/y")}
            ).status_code,
            "system": client.post(
                "/api/catalog/register", json={"content": _HELLO.format(path="system/y")}
            ).status_code,
            "keys": client.get("/api/admin/keys").status_code,
        }

    assert seen == ["keys-a/x"]
    assert {entry["path"] for entry in entries} == {"keys-a/x"}
    assert statuses == {
        "detail": 404,
        "status": 404,
        "stream": 404,
        "cancel": 404,
        "start": 404,
        "register": 403,
        "system": 403,
        "keys": 403,
    }


def test_what_was_done_is_in_the_audit(stack: Stack) -> None:
    token = _made(stack, "audited", "--role", "viewer")
    with stack.client(token) as client:
        assert client.get("/api/admin/keys").status_code == 403
    with stack.client() as admin:

        def rows() -> list[dict[str, object]]:
            found = admin.get("/api/internal/access-audit?principal=audited").json()["rows"]
            return list(found)

        wait_until(lambda: bool(rows()), what="the refusal is in the audit")
        assert rows()[0]["outcome"] == "forbidden"
        assert rows()[0]["right"] == "keys.manage"


@pytest.mark.parametrize(
    "auth",
    [
        "{type: bearer, credential: NOETL_INTERNAL_API_TOKEN}",
        "{type: api_key, credential: NOETL_INTERNAL_API_TOKEN}",
        "keys_bound",
    ],
)
def test_a_secret_goes_to_its_hosts_only(stack: Stack, auth: str) -> None:
    got: list[Request] = []

    def take(request: Request) -> Response:
        got.append(request)
        return Response({})

    with stack.client() as admin, serving(take) as web:
        admin.post(
            "/api/credentials",
            json={
                "name": "keys_bound",
                "type": "bearer",
                "data": {"token": "secret-of-this-test"},
                "allowed_hosts": ["api.example.com"],
            },
        ).raise_for_status()
        register(admin, _STEAL.format(path="keys/steal", auth=auth))
        execution_id = execute(admin, "keys/steal", url=web.url)
        status = finish(admin, execution_id)
        log = admin.get(f"/api/executions/{execution_id}").text

    assert (status, got) == ("FAILED", [])
    assert "may not be sent to this host" in log
    assert httpx.URL(web.url).host == "127.0.0.1"

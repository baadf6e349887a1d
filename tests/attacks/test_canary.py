"""Secrets that leave nothing behind (design, invariant 9).

One secret is stored as credentials of all types and as a keychain entry; playbooks that fail use
it in every tool kind that is installed. It may be found nowhere. Another one is given in payloads
under a key that names a secret: the log holds it, as later steps need it (F21), but logs of
processes, metrics, dead letters and answers do not. Both are searched for as they are and in the
spellings in which they might have been put out.
"""

import asyncio
import base64
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from urllib.parse import quote

import asyncpg
import httpx
import nats
import pytest
import yaml
from nats.js.errors import NotFoundError
from noetl_contract.json import JsonObject
from noetl_testkit.stack import FINISHED, Stack, events, execute, finish, register, running_stack
from noetl_testkit.web import Request, Response, serving

pytestmark = pytest.mark.e2e

KINDS = sorted(entry.name for entry in entry_points(group="noetl.tools"))


def spellings(secret: str) -> list[str]:
    """Return how a secret may have been put out."""
    plain = secret.encode()
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], plain.hex()}
    for lead in (b"", b"a", b"ab"):
        # Whatever stands before it shifts the letters; the middle ones stay.
        code = base64.b64encode(lead + plain).decode()
        found.add(code[4:-4])
    return sorted(found)


@dataclass
class Canaries:
    """The two secrets and their names."""

    stored: str = field(default_factory=lambda: f"canary+{secrets.token_hex(12)}/x")
    paid: str = field(default_factory=lambda: f"payload+{secrets.token_hex(12)}/x")
    executions: dict[str, int] = field(default_factory=dict)
    catalog_id: int = 0
    echo: str = ""
    heard: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        """Return every text that may not be found where neither may be."""
        return [*spellings(self.stored), *spellings(self.paid)]


@contextmanager
def echoing(canaries: Canaries) -> Iterator[None]:
    """Serve a host that answers every call with a failure and everything it was sent."""

    def answer(request: Request) -> Response:
        said = {
            "seen": dict(request.headers),
            "path": request.target,
            "body": request.body.decode(),
        }
        canaries.heard.append(json.dumps(said))
        # What came in a payload is known by its key alone: given back inside a text it would
        # be data like any other.
        given = [] if canaries.paid in canaries.heard[-1] else [said, json.dumps(said)]
        return Response({"list": given}, 500)

    with serving(answer) as server:
        canaries.echo = server.url
        yield


def tools(echo: str) -> dict[str, list[JsonObject]]:
    """Return, by kind, tools that use the secret and fail, or at least give it back."""
    http = {"url": f"{echo}/x?n={{{{ workload.n }}}}", "method": "GET"}
    named = "{{ keychain.canary_named.token }}"
    table = {"type": "postgres", "auth": "canary_pg", "table": "t", "query": "SELECT 1"}
    return {
        "http": [
            {**http, "auth": "canary_bearer"},
            {**http, "auth": "canary_basic"},
            {**http, "credential": "canary_key"},
            {**http, "headers": {"X-Api-Token": "{{ workload.api_token }}"}},
            {**http, "auth": "canary_odd"},
            {**http, "auth": "canary_kept"},
            {**http, "headers": {"X-Word": f"is {named}"}, "params": {"q": named}},
            {**http, "auth": {"type": "bearer", "token": named}},
        ],
        "postgres": [
            {"auth": "canary_pg", "query": "SELECT 1"},
            {"auth": "canary_pg_away", "query": "SELECT 1"},
            {"auth": "canary_pg_away", "query": f"SELECT '{named}'", "params": [named]},
        ],
        "duckdb": [
            {"auth": "canary_pg", "query": "SELECT * FROM nowhere"},
            {
                "query": "SELECT 1",
                "attach": [{"type": "postgres", "name": "p", "auth": "canary_pg_away"}],
            },
        ],
        "ducklake": [{"auth": "canary_pg", "query": "SELECT * FROM nowhere"}],
        "transfer": [{"source": table, "target": {**table, "auth": "canary_pg_away"}}],
        "nats": [{"auth": "canary_nats", "operation": "kv_get", "bucket": "b", "key": "k"}],
        "shell": [
            {"auth": "canary_pg", "command": "echo failing; exit 3"},
            {"command": f"echo '{named}'; exit 3"},
        ],
        "python": [
            {
                "auth": "canary_pg",
                "input": {"api_token": "{{ workload.api_token }}"},
                "code": "raise ValueError('no luck')",
            },
            {"input": {"word": named}, "code": "raise ValueError(word)"},
            {"code": f"raise ValueError('{named}')"},
        ],
        "mcp": [
            {"auth": "canary_bearer", "endpoint": f"{echo}/mcp", "method": "tools/call",
             "tool": "t"}
        ],
        "playbook": [
            {"auth": "canary_pg", "path": "canary/nowhere"},
            {"path": "canary/noop/0/0", "payload": {"word": named}},
        ],
        "result_fetch": [{"auth": "canary_bearer", "ref": "noetl://execution/1/result/a/1"}],
        "artifact": [
            {"auth": "canary_bearer", "input": {"result_ref": "noetl://execution/1/result/a/1"}}
        ],
        "task_sequence": [],
    }  # fmt: skip


def playbook(kind: str, number: int, tool: JsonObject, *, pipeline: bool) -> JsonObject:
    """Return a playbook with one tool, alone or in a pipeline."""
    spec = {"kind": kind, **tool}
    return {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {"name": "canary", "path": f"canary/{kind}/{number}/{int(pipeline)}"},
        "workload": {"n": 1, "api_token": ""},
        "keychain": [
            {"name": "canary_kept", "provider": "vault", "map": {"token": "nowhere"}},
            {"name": "canary_named", "credential": "canary_bearer"},
        ],
        "workflow": [{"step": "start", "tool": [{"one": spec}] if pipeline else spec}],
    }


def store(client: httpx.Client, canaries: Canaries, login: dict[str, str]) -> None:
    """Store the secret in every way there is."""
    secret = canaries.stored
    login = {**login, "db_user": "canary", "db_password": secret}
    wanted = {
        "canary_pg": ("postgres", login),
        "canary_pg_away": ("postgres", {**login, "db_host": "127.0.0.1", "db_port": "9"}),
        "canary_bearer": ("bearer", {"token": secret}),
        "canary_basic": ("basic", {"username": "ann", "password": secret}),
        "canary_key": ("api_key", {"api_key": secret}),
        "canary_nats": ("nats", {"nats_url": f"nats://u:{quote(secret, safe='')}@127.0.0.1:9"}),
        "canary_odd": ("gcs", {"key": secret}),
    }  # fmt: skip
    for name, (type_, data) in wanted.items():
        body = {"name": name, "type": type_, "data": data, "description": "a canary"}
        client.post("/api/credentials", json=body).raise_for_status()
    canaries.catalog_id = int(register(client, TEXT)["catalog_id"])
    body = {"data": {"access_token": secret}, "scope_type": "global", "expires_in": 600}
    path = f"/api/keychain/{canaries.catalog_id}/canary_kept"
    client.post(path, json=body).raise_for_status()


TEXT = yaml.safe_dump(playbook("noop", 0, {}, pipeline=False))


@pytest.fixture(scope="module")
def canaries() -> Iterator[Canaries]:
    made = Canaries()
    with echoing(made):
        yield made


@pytest.fixture(scope="module")
def stack(canaries: Canaries) -> Iterator[Stack]:
    """A stack in which every playbook has run to its end; credentials come sealed."""
    environment = {"NOETL_SEALED_CREDENTIALS": "true"}
    with running_stack(environment=environment) as stack, stack.client() as client:
        store(client, canaries, stack.database_login())
        for kind in KINDS:
            for number, tool in enumerate(tools(canaries.echo).get(kind, [{"auth": "canary_pg"}])):
                for pipeline in (False, True):
                    document = playbook(kind, number, tool, pipeline=pipeline)
                    path = register(client, yaml.safe_dump(document))["path"]
                    canaries.executions[path] = execute(client, path, api_token=canaries.paid)
        for execution_id in canaries.executions.values():
            assert finish(client, execution_id) in FINISHED
        yield stack


def test_the_tools_did_use_the_secret(stack: Stack, canaries: Canaries) -> None:
    """Else all that follows would prove nothing."""
    del stack
    heard = "\n".join(canaries.heard)

    assert f"Bearer {canaries.stored}" in heard
    assert f"is {canaries.stored}" in heard
    assert canaries.paid in heard
    assert base64.b64encode(f"ann:{canaries.stored}".encode()).decode() in heard
    assert {"http"} <= set(KINDS)


def test_no_log_holds_it(stack: Stack, canaries: Canaries) -> None:
    found = {}
    files = [*stack.data.rglob("*.log*"), *stack.data.parent.glob("*.log")]
    for path in files:
        text = path.read_text(errors="replace")
        if hits := [word for word in canaries.all() if word in text]:
            line = next(line for line in text.splitlines() if hits[0] in line)
            found[path.name] = line[:500]

    assert len(files) > 5
    assert found == {}


def test_no_column_holds_it(stack: Stack, canaries: Canaries) -> None:
    """Ciphertext is searched, too: it may not hold its own plaintext."""

    async def search() -> tuple[dict[str, str], int]:
        found = {}
        count = 0
        connection = await asyncpg.connect(stack.dsn())
        try:
            tables = await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
            for table in tables:
                rows = await connection.fetch(f"SELECT t::TEXT AS text FROM {table['name']} AS t")
                count += len(rows)
                for row in rows:
                    if hits := [one for one in spellings(canaries.stored) if one in row["text"]]:
                        at = row["text"].index(hits[0])
                        found[table["name"]] = row["text"][max(0, at - 300) : at + 50]
        finally:
            await connection.close()
        return found, count

    found, count = asyncio.run(search())

    assert count > 100
    assert found == {}


def test_no_stream_holds_it(stack: Stack, canaries: Canaries) -> None:
    """Nor does a dead letter hold the values of a payload."""

    async def search() -> tuple[dict[str, str], int]:
        found = {}
        count = 0
        connection = await nats.connect(stack.values()["NOETL_NATS_URL"])
        try:
            js = connection.jetstream()
            for stream in await js.streams_info():
                name = stream.config.name
                assert name is not None
                if not stream.state.messages:
                    continue
                words = canaries.all() if name == "noetl_dead" else spellings(canaries.stored)
                for sequence in range(stream.state.first_seq, stream.state.last_seq + 1):
                    try:
                        message = await js.get_msg(name, sequence)
                    except NotFoundError:
                        continue
                    count += 1
                    text = f"{message.subject} {message.headers} {(message.data or b'').decode()}"
                    if any(word in text for word in words):
                        found[name] = text[:500]
        finally:
            await connection.close()
        return found, count

    found, count = asyncio.run(search())

    assert count > 100
    assert found == {}


def test_no_metric_holds_it(stack: Stack, canaries: Canaries) -> None:
    searched = 0
    for name, service in stack.services().items():
        if name in {"nats", "postgres"}:
            continue
        url = f"http://127.0.0.1:{service['port']}/metrics"
        text = httpx.get(url, trust_env=False).raise_for_status().text
        searched += "noetl_" in text
        assert not [word for word in canaries.all() if word in text], name

    assert searched >= 5


# Those that hand the secret to whoever may have it.
REVEALS = {
    "/api/keychain/{catalog_id}/{keychain_name}",
    "/api/credentials/{identifier}/sealed",
}
# Endless; its events are those of the lists.
ENDLESS = {
    "/api/executions/{execution_id}/events/stream",
    "/api/events/batch/{request_id}/stream",
    "/events",
}


def test_no_answer_holds_it(stack: Stack, canaries: Canaries) -> None:
    """Every route that reads, for every execution; those of an execution with its own ids."""
    with stack.client() as client:
        routes = client.get("/schema/openapi.json").json()["paths"]
        reading = [
            path
            for path, methods in routes.items()
            if "get" in methods and path not in REVEALS | ENDLESS
        ]
        assert len(reading) > 40
        asked, seen = 0, set[str]()
        for execution_id in canaries.executions.values():
            log = client.get(f"/api/executions/{execution_id}").json()["events"]
            values = {
                "execution_id": str(execution_id),
                "catalog_id": str(canaries.catalog_id),
                "identifier": "canary_pg",
                "event_id": str(log[-1]["event_id"]),
                "request_id": str(log[-1]["event_id"]),
                "path": str(log[0].get("path") or "none"),
            }
            for path in {_filled(path, values) for path in reading} - seen:
                seen.add(path)
                answer = client.get(path, params={"execution_id": str(execution_id)})
                hits = [word for word in canaries.all() if word in answer.text]
                assert not hits, (path, _around(answer.text, hits[0]))
                asked += answer.status_code == 200

    assert asked > len(canaries.executions) * 8


def _filled(path: str, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)(?::\w+)?}", lambda match: values.get(match[1], "x"), path)


def test_the_failures_say_what_went_wrong(stack: Stack, canaries: Canaries) -> None:
    """Masking must not eat the reasons."""
    with stack.client() as client:
        odd = json.dumps(events(client, canaries.executions["canary/http/4/0"]))
        echoed = events(client, canaries.executions["canary/http/0/0"])
        done = next(event for event in echoed if event["event_type"] == "call.done")

        child = json.dumps(events(client, canaries.executions["canary/playbook/1/0"]))

    assert "may not be given to a tool of kind 'playbook'" in child
    assert "Credential alias 'canary_odd' has unsupported type 'gcs'" in odd
    assert "[REDACTED]" in json.dumps(done)
    assert "HTTP 500 response" in json.dumps(done)


def test_who_asks_for_it_gets_it(stack: Stack, canaries: Canaries) -> None:
    """The search finds secrets that are there: here they have to be."""
    with stack.client() as client:
        text = client.get("/api/credentials/canary_pg", params={"include_data": "true"}).text
        path = f"/api/keychain/{canaries.catalog_id}/canary_kept"
        kept = client.get(path, params={"scope_type": "global"}).text

    assert any(word in text for word in spellings(canaries.stored))
    assert any(word in kept for word in spellings(canaries.stored))


def _around(text: str, word: str) -> str:
    at = text.index(word)
    return text[max(0, at - 300) : at + len(word) + 50]

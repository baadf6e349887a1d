"""Playbooks as their authors write them, on the whole stack, over both worker transports.

All of them are started first and looked at afterwards, so that they also run side by side.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import cases_combined
import cases_core
import cases_flow
import cases_language
import cases_tools
import httpx
import nats
import pytest
from acceptance_case import ANY, Case
from cases_language import REFUSED
from echo_host import ECHO, echo
from mock_hosts import MockHosts, mock_hosts
from nats.js.api import StreamConfig
from noetl_contract.json import JsonObject
from noetl_engine.playbook.lint import lint
from noetl_testkit.stack import Stack, events, execute, finish
from noetl_testkit.web import serving
from proofs import Run
from real_playbooks import DATABASE
from subjects import name_of_subject, subjects_seen

pytestmark = pytest.mark.e2e

CASES = (
    cases_core.CASES
    | cases_flow.CASES
    | cases_tools.CASES
    | cases_language.CASES
    | cases_combined.CASES
)
FOLDER = Path(__file__).parent / "playbooks"
TABLES = """
CREATE SCHEMA heavy;
CREATE TABLE heavy.source (
    execution_id TEXT, item_id INTEGER, item_key TEXT, PRIMARY KEY (execution_id, item_id));
CREATE TABLE heavy.results (
    execution_id TEXT, item_id INTEGER, body JSONB, PRIMARY KEY (execution_id, item_id));
"""
"""Tables that several playbooks use at once; making them in one of them would be a race."""

HOSTS = {
    "https://api.open-meteo.com/v1/forecast": "/internet",
    "https://pcc-client-proxy-dev-324vm4y6ma-uc.a.run.app/api/anything": "/internet",
    "https://httpbin.org/post": "/internet",
    "http://noetl-server-rust.noetl.svc.cluster.local:8082": "",
}
"""Addresses in the playbooks with the path of the mock that stands for them."""


@dataclass
class Round:
    """One stack with an execution of every playbook."""

    stack: Stack
    hosts: MockHosts
    executions: dict[str, int]
    answers: dict[str, httpx.Response]
    subjects: set[str]

    def sql(self, statement: str) -> list[JsonObject]:
        return asyncio.run(_fetch(self.stack.dsn(DATABASE), statement))


@pytest.fixture(scope="module")
def played(transport_stack: Stack) -> Iterator[Round]:
    stack = transport_stack
    with (
        mock_hosts() as hosts,
        serving(echo) as echo_server,
        subjects_seen(stack.values()["NOETL_NATS_URL"]) as subjects,
    ):
        asyncio.run(_fetch(stack.dsn(DATABASE), TABLES))
        asyncio.run(_prepare_broker(stack))
        _store_credentials(stack)
        with stack.client() as client:
            answers = {}
            for path in sorted(FOLDER.glob("*.yaml")):
                text = path.read_text().replace(ECHO, echo_server.url)
                for address, place in HOSTS.items():
                    text = text.replace(address, hosts.url + place)
                answer = client.post("/api/catalog/register", json={"content": hosts.rewrite(text)})
                answers[path.stem] = answer
            for name in REFUSED:
                if answers[name].is_success:
                    answers[name] = client.post("/api/execute", json={"path": f"acceptance/{name}"})
            executions = {
                name: execute(
                    client,
                    f"acceptance/{name}",
                    **({"scratch": str(stack.scratch)} | dict(case.payload)),
                )
                for name, case in CASES.items()
            }
        yield Round(stack, hosts, executions, answers, subjects)


async def _fetch(dsn: str, statement: str) -> list[JsonObject]:
    connection = await asyncpg.connect(dsn)
    try:
        if ";" in statement:
            await connection.execute(statement)
            return []
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def _prepare_broker(stack: Stack) -> None:
    """Create the streams and buckets of the nats tools; the tools themselves create nothing."""
    client = await nats.connect(stack.values()["NOETL_NATS_URL"])
    try:
        stream = client.jetstream()
        await stream.create_key_value(bucket="acceptance")
        await stream.create_object_store("acceptance_objects")
        await stream.add_stream(StreamConfig(name="ACCEPTANCE", subjects=["acceptance.>"]))
        await stream.add_consumer("ACCEPTANCE", durable_name="reader", ack_policy="explicit")
    finally:
        await client.close()


def _store_credentials(stack: Stack) -> None:
    values = stack.values()
    address = urlsplit(values["NOETL_NATS_URL"])
    broker = {
        "nats_url": f"nats://{address.hostname}:{address.port}",
        "nats_user": unquote(address.username or ""),
        "nats_password": unquote(address.password or ""),
    }
    credentials = [
        ("pg_noetl_k8s", "postgres", stack.database_login()),
        ("api_bearer", "bearer", {"token": "b-1234"}),
        ("nats_here", "nats", broker),
    ]
    with stack.client() as client:
        for name, kind, data in credentials:
            body = {"name": name, "type": kind, "data": data}
            client.post("/api/credentials", json=body).raise_for_status()


@pytest.mark.parametrize("name", list(CASES))
def test_playbook_does_what_the_contract_says(played: Round, name: str) -> None:
    case, execution_id = CASES[name], played.executions[name]
    with played.stack.client() as client:
        status = finish(client, execution_id)
        log = events(client, execution_id)
        run = Run(
            execution_id=execution_id, log=log, sql=played.sql, client=client, hosts=played.hosts
        )
        errors = run.errors()
        assert status == case.status, errors

        kinds = Counter(event["event_type"] for event in log)
        assert kinds["playbook_started"] == 1
        assert kinds["playbook.completed"] + kinds["playbook.failed"] == 1
        if case.error:
            assert any(case.error in error for error in errors), errors
        if case.issued:
            assert run.issued() == case.issued
        if case.skipped is not None:
            skipped = {e["node_name"] for e in log if e["event_type"] == "step.skipped"}
            assert skipped == case.skipped
        if case.log is not None:
            assert len(log) == case.log
        _check_data(run, case)
        if case.soft_errors is not None:
            answer = client.get(f"/api/executions/{execution_id}/status").json()
            assert answer["soft_errors"] == case.soft_errors
        if case.children is not None:
            assert tuple(sorted(_children(client, execution_id))) == case.children
    for statement, rows in case.rows.items():
        assert played.sql(statement.format(id=execution_id)) == rows


def _children(client: httpx.Client, execution_id: int) -> Iterator[str]:
    """Give the state of each execution that names this one as its parent."""
    for offset in itertools.count(0, 100):
        wanted = {"parent_execution_id": execution_id, "limit": 100, "offset": offset}
        page = client.get("/api/executions", params=wanted).json()
        for one in page:
            assert str(one["parent_execution_id"]) == str(execution_id)
            yield one["status"]
        if len(page) < 100:
            return


def _check_data(run: Run, case: Case) -> None:
    for place, expected in case.data.items():
        step, _, task = place.partition(".")
        found = run.data(step, task or None)
        if isinstance(expected, dict):
            assert isinstance(found, dict), (place, found)
            wanted = {key: want for key, want in expected.items() if want is not ANY}
            assert expected.keys() <= found.keys(), place
            assert {key: found[key] for key in wanted} == wanted, place
        else:
            assert found == expected, place


OF_PLAYBOOKS = {
    "acceptance.": "the stream that the playbook of the nats tool writes and reads",
}
"""Beginnings of subjects that the contract cannot know: they stand in a playbook."""


def test_every_subject_on_the_broker_is_declared(played: Round) -> None:
    with played.stack.client() as client:
        for execution_id in played.executions.values():
            finish(client, execution_id)

    names = {subject: name_of_subject(subject) for subject in frozenset(played.subjects)}

    # Else it would prove nothing. Without the stream first, a write that comes over HTTP needs the
    # stream only when its request is not answered.
    seen = {"writes", "commands", "events", "published", "replies"}
    settings = played.stack.environment
    if settings["NOETL_WORKER_TRANSPORT"] == "nats" or settings["NOETL_INGRESS"] == "stream":
        seen.add("ingress")
    assert seen <= set(names.values())
    undeclared = {subject for subject, name in names.items() if name is None}
    assert {one for one in undeclared if not one.startswith(tuple(OF_PLAYBOOKS))} == set()


@pytest.mark.parametrize("name", list(REFUSED))
def test_playbook_is_refused(played: Round, name: str) -> None:
    status, text = REFUSED[name]
    answer = played.answers[name]
    if name == "kind_agent":
        assert answer.json()["hint"] == "unknown tool kind 'agent'"

    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_linter_finds_errors_only_in_what_is_refused(path: Path) -> None:
    errors = [finding for finding in lint(path.read_text()) if finding.severity == "error"]

    assert bool(errors) == (path.stem in {*REFUSED} - NOT_SEEN), errors


NOT_SEEN = {"start_loop_map"}
"""Playbooks whose refusal depends on values that come with the start."""


def test_every_playbook_has_its_outcome_written_down() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*CASES, *REFUSED}

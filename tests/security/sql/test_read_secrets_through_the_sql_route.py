"""Values that the API masks, or never gives out, are hidden from readers of tables as well."""

import secrets
from typing import NamedTuple

import httpx
import pytest
from noetl_testkit.stack import Stack, execute, finish, register

pytestmark = pytest.mark.e2e

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: attack_sql_secrets, path: attack/sql_secrets}
workload: {db_password: none}
workflow:
  - step: start
    tool:
      kind: python
      args: {p: "{{ workload.db_password }}"}
      code: |
        def main(p):
            return {"got": p, "inside": "login with " + p, "password": p}
    next: [{step: fail}]
  - step: fail
    tool:
      kind: python
      args: {p: "{{ workload.db_password }}"}
      code: |
        def main(p):
            raise ValueError("cannot log in with " + p)
"""
TABLES = (
    "event", "command", "execution", "execution_state", "result_store", "transient", "runtime",
)  # fmt: skip
HIDDEN = ("credential", "keychain", "secret_audit", "request_key")
ELSEWHERE = (
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT to_jsonb(e) FROM noetl.event AS e WHERE e.execution_id = {execution_id}",
    "SELECT * FROM noetl.event_default",
    "SELECT context FROM ONLY noetl . event WHERE execution_id = {execution_id}",
    'TABLE "noetl" . "event"',
    "SELECT state FROM noetl.execution_snapshot",
    "SELECT payload FROM noetl.outbox",
    "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'noetl'",
    (
        "SELECT noetl_shown.secrets_in(context -> 'workload') FROM noetl.event"
        " WHERE execution_id = {execution_id}"
    ),
)


def ask(client: httpx.Client, query: str, **more: str) -> httpx.Response:
    return client.post("/api/postgres/execute", json={"query": query, **more})


class Canary(NamedTuple):
    """A password, and the execution that was given it and put it out."""

    password: str
    execution_id: int


@pytest.fixture(scope="module")
def canary(nats_stack: Stack) -> Canary:
    password = f"Hunter+{secrets.token_hex(8)}/x"
    with nats_stack.client() as client:
        register(client, PLAYBOOK)
        execution_id = execute(client, "attack/sql_secrets", db_password=password)
        finish(client, execution_id)
        body = {"name": "attack_sql", "type": "http", "data": {"token": password}}
        client.post("/api/credentials", json=body).raise_for_status()
    return Canary(password, execution_id)


@pytest.mark.parametrize("table", TABLES)
def test_rows_come_without_secrets(nats_stack: Stack, canary: Canary, table: str) -> None:
    # Of the one execution, whose rows are so never beyond the rows that an answer may have.
    own = "" if table == "runtime" else f" WHERE execution_id = {canary.execution_id}"
    with nats_stack.client() as client:
        named = ask(client, f"SELECT * FROM noetl.{table}{own}")
        found = ask(client, f"SELECT * FROM {table}{own}", schema="noetl")
        as_text = ask(client, f"SELECT t::text AS t FROM noetl.{table} AS t{own}", schema="noetl")

    for answer in (named, found, as_text):
        assert answer.status_code == 200, answer.text
        assert canary.password not in answer.text
        assert canary.password.replace("/", r"\/") not in answer.text
    if table == "event":
        assert "login with [REDACTED]" in named.text


@pytest.mark.parametrize("table", HIDDEN)
def test_tables_of_secrets_are_closed(nats_stack: Stack, table: str) -> None:
    with nats_stack.client() as client:
        answer = ask(client, f"SELECT * FROM noetl.{table}")

    assert answer.status_code == 500
    assert "permission denied" in answer.json()["error"]


@pytest.mark.parametrize("query", ELSEWHERE)
def test_ways_round_end_nowhere(nats_stack: Stack, canary: Canary, query: str) -> None:
    with nats_stack.client() as client:
        answer = ask(client, query.format(execution_id=canary.execution_id))

    assert canary.password not in answer.text
    assert "SCRAM-SHA-256" not in answer.text


@pytest.mark.usefixtures("canary")
def test_what_scripts_count_is_there(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        for query in (
            "SELECT event_type, count(*) AS n FROM noetl.event GROUP BY 1",
            "SELECT c.status FROM noetl.command AS c JOIN noetl.event AS e USING (execution_id)",
            "SELECT path FROM noetl.catalog",
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'noetl'",
            "SELECT pg_total_relation_size('noetl.event') AS n",
        ):
            answer = ask(client, query)
            assert answer.status_code == 200, answer.text
            assert answer.json()["result"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_advisory_lock(hashtextextended('noetl.catalog/' || 'attack/locked', 0))",
        'SELECT "pg_advisory_lock"(1)',
        "SELECT pg_try_advisory_xact_lock(1, 2)",
        "SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, true, '')",
    ],
)
def test_locks_of_the_services_are_not_taken(nats_stack: Stack, query: str) -> None:
    with nats_stack.client() as client:
        answer = ask(client, query)

    assert answer.status_code == 422
    assert "is not possible here" in answer.json()["error"]

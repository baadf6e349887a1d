"""A read-only transaction does not keep a superuser from programs and files of its host."""

import pytest
from noetl_testkit.stack import Stack

pytestmark = pytest.mark.e2e

PROGRAM = "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''id''' ; END $$"
FILE = "SELECT pg_read_file('/etc/passwd')"
DISGUISED = "SELECT U&\"pg_read_fil\\0065\"('/etc/passwd')"
HARMLESS = "SELECT 1"


@pytest.fixture
def superuser(nats_stack: Stack) -> str:
    """Name of the stored credential of a superuser."""
    with nats_stack.client() as client:
        body = {"name": "attack_pg", "type": "postgres", "data": nats_stack.database_login()}
        client.post("/api/credentials", json=body).raise_for_status()
    return "attack_pg"


@pytest.mark.parametrize("query", [PROGRAM, FILE, DISGUISED, HARMLESS])
def test_another_database_is_not_for_clients(nats_stack: Stack, superuser: str, query: str) -> None:
    places = ({"credential": superuser}, {"connection_string": nats_stack.dsn()})
    with nats_stack.client() as client:
        for place in places:
            answer = client.post("/api/postgres/execute", json={"query": query, **place})

            assert answer.status_code in {403, 422}, answer.text


@pytest.mark.parametrize("query", [PROGRAM, FILE, DISGUISED, HARMLESS])
def test_a_superuser_s_credential_is_refused_also_where_others_are_allowed(
    guarded_stack: Stack, query: str
) -> None:
    with guarded_stack.client() as client:
        place = {"connection_string": guarded_stack.dsn()}
        answer = client.post("/api/postgres/execute", json={"query": query, **place})

    assert answer.status_code in {403, 422}, answer.text


@pytest.mark.parametrize("query", [PROGRAM, FILE, DISGUISED])
def test_at_home_neither(nats_stack: Stack, query: str) -> None:
    with nats_stack.client() as client:
        answer = client.post("/api/postgres/execute", json={"query": query})

    assert answer.status_code in {403, 422, 500}
    assert "root:" not in answer.text

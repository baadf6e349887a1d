"""Real playbooks on the whole stack, over both worker transports."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
from mock_hosts import MockHosts
from noetl_contract.json import JsonObject
from proofs import PROOFS, Run
from real_playbooks import read
from stack import Stack, events, execute, finish, register, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROWS = {
    "hello_world/hello_world.yaml": 19,
    "comprehensive_test.yaml": 26,
    "fanout_reduce/fanout_reduce_phase6.yaml": 25,
    "root_scripts/test_implicit_end_routing.yaml": 13,
    "actions_test.yaml": 48,
}
"""Rows of a log where the contract gives the number."""

DATABASE = "demo_noetl"


@pytest.fixture(scope="module")
def hosts() -> Iterator[MockHosts]:
    with MockHosts().running() as running:
        yield running


@pytest.fixture(scope="module", params=["nats", "http"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with running_stack(environment={"NOETL_WORKER_TRANSPORT": request.param}) as running:
        asyncio.run(_fetch(running.dsn(), f"CREATE DATABASE {DATABASE}"))
        _store_credentials(running)
        yield running


def _store_credentials(stack: Stack) -> None:
    values = stack.values()
    access = {
        "db_host": values["POSTGRES_HOST"],
        "db_port": values["POSTGRES_PORT"],
        "db_user": values["POSTGRES_USER"],
        "db_password": values["POSTGRES_PASSWORD"],
    }
    with stack.client() as client:
        for name, database in [("pg_k8s", DATABASE), ("pg_local", DATABASE)]:
            data = {**access, "db_name": database}
            body = {"name": name, "type": "postgres", "data": data}
            client.post("/api/credentials", json=body).raise_for_status()


async def _fetch(dsn: str, statement: str) -> list[JsonObject]:
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.shared
@pytest.mark.parametrize("name", list(PROOFS))
def test_real_playbook_does_its_work(stack: Stack, hosts: MockHosts, name: str) -> None:
    text = hosts.rewrite(read(name))
    hosts.api.requests.clear()
    hosts.api.flaky_calls.clear()
    dsn = stack.dsn().rpartition("/")[0] + f"/{DATABASE}"
    with stack.client() as client:
        for needed in NEEDS.get(name, ()):
            before = register(client, hosts.rewrite(read(needed)))["path"]
            assert finish(client, execute(client, before)) == "COMPLETED"
        path = register(client, text)["path"]
        execution_id = execute(client, path)

        status = finish(client, execution_id, seconds=90)
        log = events(client, execution_id)
        assert status == "COMPLETED", [event["error"] for event in log if event.get("error")]
        kinds = Counter(event["event_type"] for event in log)
        assert kinds["playbook_started"] == 1
        assert kinds["playbook.completed"] == 1
        assert kinds["command.issued"] == kinds["command.completed"]
        if name in ROWS:
            assert len(log) == ROWS[name]
        PROOFS[name](
            Run(
                execution_id=execution_id,
                log=log,
                sql=lambda statement: asyncio.run(_fetch(dsn, statement)),
                client=client,
                hosts=hosts,
            )
        )


NEEDS = {
    "playbook_composition/playbook_composition.yaml": [
        "playbook_composition/user_profile_scorer.yaml"
    ],
    "save_storage_test/save_simple_test.yaml": ["save_storage_test/create_tables.yaml"],
    "save_storage_test/save_all_storage_types.yaml": ["save_storage_test/create_tables.yaml"],
}
"""What must be registered and have run before."""


@pytest.mark.shared
def test_hello_world_writes_the_contracts_sequence(stack: Stack) -> None:
    with stack.client() as client:
        path = register(client, read("hello_world/hello_world.yaml"))["path"]
        execution_id = execute(client, path)
        finish(client, execution_id)
        log = events(client, execution_id)

    work = [
        "command.issued",
        "command.claimed",
        "command.started",
        "call.done",
        "command.completed",
    ]
    expected = [
        "playbook_started",
        *work,
        "step.enter",
        *work,
        "step.enter",
        *work,
        "playbook.completed",
    ]
    assert expected == [event["event_type"] for event in log]


EXAMPLES = {
    "hello": {},
    "branching": {"amount": 1200},
    "parallel_join": {},
    "failure_and_recovery": {},
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_example_completes(stack: Stack, name: str, pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "examples" / f"{name}.yaml").read_text()
    with stack.client() as client:
        path = register(client, text)["path"]
        execution_id = execute(client, path, **EXAMPLES[name])

        assert finish(client, execution_id) == "COMPLETED"

"""Real playbooks on the whole stack, over both worker transports."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
from mock_hosts import MockHosts, mock_hosts
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, events, execute, finish, register
from noetl_testkit.waiting import wait_until
from proofs import PROOFS, Run
from real_playbooks import DATABASE, read

pytestmark = pytest.mark.e2e

ROWS = {
    "hello_world/hello_world.yaml": 19,
    "comprehensive_test.yaml": 26,
    "fanout_reduce/fanout_reduce_phase6.yaml": 25,
    "root_scripts/test_implicit_end_routing.yaml": 13,
    "actions_test.yaml": 48,
}
"""Rows of a log where the contract gives the number."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[MockHosts]:
    with mock_hosts() as running:
        yield running


async def _fetch(dsn: str, statement: str) -> list[JsonObject]:
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.shared
@pytest.mark.parametrize("name", list(PROOFS))
def test_real_playbook_does_its_work(transport_stack: Stack, hosts: MockHosts, name: str) -> None:
    text = hosts.rewrite(read(name))
    hosts.api.requests.clear()
    hosts.api.flaky_calls.clear()
    dsn = transport_stack.dsn(DATABASE)
    with transport_stack.client() as client:
        for needed in NEEDS.get(name, ()):
            before = register(client, hosts.rewrite(read(needed)))["path"]
            assert finish(client, execute(client, before)) == "COMPLETED"
        path = register(client, text)["path"]
        execution_id = execute(client, path)

        status = finish(client, execution_id)
        run = Run(
            execution_id=execution_id,
            log=events(client, execution_id),
            sql=lambda statement: asyncio.run(_fetch(dsn, statement)),
            client=client,
            hosts=hosts,
        )
        assert status == "COMPLETED", run.errors()
        kinds = Counter(event["event_type"] for event in run.log)
        assert kinds["playbook_started"] == 1
        assert kinds["playbook.completed"] == 1
        assert kinds["command.issued"] == kinds["command.completed"]
        if name in ROWS:
            assert len(run.log) == ROWS[name]
        PROOFS[name](run)


NEEDS = {
    "playbook_composition/playbook_composition.yaml": [
        "playbook_composition/user_profile_scorer.yaml"
    ],
    "save_storage_test/save_simple_test.yaml": ["save_storage_test/create_tables.yaml"],
    "save_storage_test/save_all_storage_types.yaml": ["save_storage_test/create_tables.yaml"],
}
"""Playbooks that must be registered and have run before."""


@pytest.mark.shared
def test_hello_world_writes_the_contracts_sequence(transport_stack: Stack) -> None:
    with transport_stack.client() as client:
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
    "nightly": {"day": "2026-01-01"},
}


def test_the_approval_goes_on_by_its_answer(
    transport_stack: Stack, pytestconfig: pytest.Config
) -> None:
    text = (pytestconfig.rootpath / "examples" / "approval.yaml").read_text()
    with transport_stack.client() as client:
        path = register(client, text)["path"]
        execution_id = execute(client, path)

        def waiting() -> list[JsonObject]:
            found = client.get("/api/waits", params={"execution_id": execution_id}).json()
            waits: list[JsonObject] = found["waits"]
            return waits

        wait_until(lambda: bool(waiting()))
        (wait,) = waiting()
        assert wait["title"] == "Release 4.2.1?"
        assert wait["description"] == "Version 4.2.1: 12 changes, all tests green"
        answer = client.post(
            f"/api/executions/{execution_id}/signals/approve",
            json={"payload": {"decision": "approve", "comment": "fine"}},
        )
        assert answer.json()["status"] == "taken", answer.text

        assert finish(client, execution_id) == "COMPLETED"
        detail = client.get(f"/api/executions/{execution_id}").json()
        assert detail["result"] == {"released": "4.2.1", "comment": "fine"}
        assert not waiting()


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_example_completes(transport_stack: Stack, name: str, pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "examples" / f"{name}.yaml").read_text()
    with transport_stack.client() as client:
        path = register(client, text)["path"]
        execution_id = execute(client, path, **EXAMPLES[name])

        assert finish(client, execution_id) == "COMPLETED"

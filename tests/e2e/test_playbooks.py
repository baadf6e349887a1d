"""Real playbooks on the whole stack, over both worker transports."""

from collections import Counter
from collections.abc import Iterator

import pytest
from playbooks import read
from stack import Stack, events, execute, finish, register, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

REAL = {
    "hello_world/hello_world.yaml": 19,
    "simple_python.yaml": None,
    "comprehensive_test.yaml": 26,
    "fanout_reduce/fanout_reduce_phase6.yaml": 25,
    "root_scripts/test_implicit_end_routing.yaml": 13,
    "actions_test.yaml": 48,
    "load_test/heavy_loop_aggregation/heavy_loop_aggregation.yaml": None,
    "vars_test/test_transient.yaml": None,
}
"""Playbook and the rows of its log where the contract gives the number (engine 16)."""


@pytest.fixture(scope="module", params=["nats", "http"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with running_stack(environment={"NOETL_WORKER_TRANSPORT": request.param}) as running:
        yield running


@pytest.mark.shared
@pytest.mark.parametrize("name", list(REAL))
def test_real_playbook_completes_with_the_documented_log(stack: Stack, name: str) -> None:
    text = read(name)
    with stack.client() as client:
        path = register(client, text)["path"]
        execution_id = execute(client, path)

        assert finish(client, execution_id, seconds=90) == "COMPLETED"
        log = events(client, execution_id)
    if REAL[name] is not None:
        assert len(log) == REAL[name]
    kinds = Counter(event["event_type"] for event in log)
    assert kinds["playbook_started"] == 1
    assert kinds["playbook.completed"] == 1
    assert kinds["command.issued"] == kinds["command.completed"]


@pytest.mark.shared
def test_join_is_entered_once(stack: Stack) -> None:
    with stack.client() as client:
        path = register(client, read("fanout_reduce/fanout_reduce_phase6.yaml"))["path"]
        execution_id = execute(client, path)
        finish(client, execution_id)
        log = events(client, execution_id)

    entered = [
        event
        for event in log
        if event["event_type"] == "step.enter" and event["node_name"] == "reduce_customer"
    ]
    assert len(entered) == 1


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

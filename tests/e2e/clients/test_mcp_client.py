"""Playbooks as tools, for the client of the protocol's own library."""

import json
from typing import Any

import httpx
import pytest
from mcp.client.client import Client as McpClient
from noetl_client import Client
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import eventually

pytestmark = pytest.mark.e2e

OFFERED = """
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: sum
  path: tests/mcp/sum
  description: Adds numbers.
  agent: true
  capabilities: [mcp]
workload:
  numbers: [1]
  level: info  # ui:enum=[debug,info]
workflow:
  - step: start
    tool: {kind: python, input: {numbers: "{{ workload.numbers }}"}, code: "result = sum(numbers)"}
"""
FAILING = (
    OFFERED.replace("sum\n", "fails\n")
    .replace("sum(numbers)", "1 / 0")
    .replace("workflow:", "spec: {errors: fail}\nworkflow:")
)
WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: asks, path: tests/mcp/asks, agent: true, capabilities: [mcp]}
workflow:
  - step: start
    tool: {kind: wait, signal: go}
"""
STEPWISE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: stepwise, path: tests/mcp/stepwise, agent: true, capabilities: [mcp]}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: {arcs: [{step: ask}]}
  - step: ask
    tool: {kind: wait, signal: go}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: python, code: "result = 'all done'"}
"""
HIDDEN = OFFERED.replace("tests/mcp/sum", "tests/mcp/hidden").replace("[mcp]", "[other]")


@pytest.fixture(scope="module")
def stack(nats_stack: Stack) -> Stack:
    with Client(nats_stack.url) as client:
        for text in (OFFERED, FAILING, WAITING, STEPWISE, HIDDEN):
            client.catalog.register(text)
        # Its newest version is offered no more.
        client.catalog.register(HIDDEN.replace("hidden", "gone").replace("[other]", "[mcp]"))
        client.catalog.register(HIDDEN.replace("hidden", "gone"))
    return nats_stack


async def test_tools_are_listed_and_called(stack: Stack) -> None:
    async with McpClient(f"{stack.url}/mcp") as client:
        tools = {one.name: one for one in (await client.list_tools()).tools}
        done = await client.call_tool("tests_mcp_sum", {"numbers": [1, 2, 3]})
        failed = await client.call_tool("tests_mcp_fails", {})
        wrong = await client.call_tool("tests_mcp_sum", {"number": 1})

    assert {"tests_mcp_sum", "tests_mcp_fails", "tests_mcp_asks", "noetl_execution"} <= {*tools}
    assert not {"tests_mcp_hidden", "tests_mcp_gone"} & {*tools}
    shown = tools["tests_mcp_sum"]
    assert shown.description is not None
    assert shown.description.startswith("Adds numbers.")
    assert shown.input_schema["properties"] == {
        "numbers": {"type": "array", "default": [1]},
        "level": {"enum": ["debug", "info"], "default": "info"},
    }
    assert (done.is_error, done.structured_content["result"]) == (False, 6)
    assert failed.is_error
    assert "step 'start' (line 15) answered with an error" in failed.content[0].text, failed.content
    assert wrong.is_error
    assert wrong.content[0].text == "Unknown arguments number; there are: numbers, level"


async def test_a_long_call_gives_a_handle_to_ask_with(stack: Stack) -> None:
    with Client(stack.url) as operator:
        # As a call whose time to wait is over: the execution is there, and runs.
        execution_id = operator.start("tests/mcp/asks").execution_id
        await eventually(lambda: bool(operator.waits(execution_id=execution_id).waits))
        async with McpClient(f"{stack.url}/mcp") as client:
            operator.signal(execution_id, "go", {"decision": "yes"})
            done = await client.call_tool("noetl_execution", {"execution_id": execution_id})

    assert done.structured_content["status"] == "COMPLETED"
    assert done.structured_content["result"]["payload"] == {"decision": "yes"}


async def test_progress_is_heard_while_a_call_runs(stack: Stack) -> None:
    heard: list[tuple[float, str | None]] = []

    with Client(stack.url) as operator:

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            assert total is None
            heard.append((progress, message))
            if len(heard) == 1:
                # The call waits still: what it was told came before its answer.
                (waiting,) = operator.waits(path="tests/mcp/stepwise").waits
                operator.signal(waiting.execution_id, "go", {"decision": "yes"})

        async with McpClient(f"{stack.url}/mcp") as client:
            done = await client.call_tool("tests_mcp_stepwise", {}, progress_callback=hear)
            failed = await client.call_tool("tests_mcp_fails", {}, progress_callback=hear)
            wrong = await client.call_tool("tests_mcp_sum", {"x": 1}, progress_callback=hear)

    assert done.structured_content["result"] == "all done"
    assert (failed.is_error, wrong.is_error) == (True, True)
    counts = [count for count, _ in heard]
    told = [message for _, message in heard if message]
    assert counts[0] == 1
    assert "start" in told[0]
    assert max(counts) == 3
    assert any("last" in message for message in told)


async def test_who_takes_no_stream_gets_one_answer(stack: Stack) -> None:
    body = call("tools/call", name="tests_mcp_sum", _meta={"progressToken": 7})
    wrong = call("tools/call", name="tests_mcp_sum", _meta={"progressToken": [7]})
    with stack.client() as client:
        plain = client.post("/mcp", json=body, headers={"Accept": "application/json"})
        accepts = {"Accept": "application/json, text/event-stream"}
        streamed = client.post("/mcp", json=body, headers=accepts)
        refused = client.post("/mcp", json=wrong, headers=accepts)

    assert plain.json()["result"]["structuredContent"]["result"] == 1
    assert streamed.headers["content-type"] == "text/event-stream"
    sent = [json.loads(one[6:]) for one in streamed.text.splitlines() if one.startswith("data: ")]
    assert [one.get("method", "answer") for one in sent] == ["notifications/progress", "answer"]
    assert sent[0]["params"] == {"progressToken": 7, "progress": 1, "message": "over: start"}
    assert refused.json()["error"]["code"] == -32602


def call(method: str, number: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, -32700),
        ([call("ping")], 400, -32600),
        ({"id": 1, "method": "ping"}, 400, -32600),
        (call("resources/list"), 200, -32601),
        (call("tools/call", name="nope"), 200, -32602),
        (call("tools/call", name="noetl_execution", arguments={"execution_id": "x"}), 200, -32602),
        (call("tools/list", cursor="x"), 200, -32602),
    ],
)
def test_what_is_no_call_is_told_as_the_protocol_says(
    stack: Stack, body: Any, status: int, code: int
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    with stack.client() as client:
        told = client.post("/mcp", content=text)

    assert (told.status_code, told.json()["error"]["code"]) == (status, code)


def test_nothing_is_kept_between_requests(stack: Stack) -> None:
    with stack.client() as client:
        hello = client.post("/mcp", json=call("initialize", protocolVersion="2025-06-18"))
        noted = client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        old = client.post("/mcp", json=call("ping"), headers={"MCP-Protocol-Version": "2024-11-05"})
        listened = client.get("/mcp", headers={"Accept": "text/event-stream"})

    assert hello.json()["result"]["protocolVersion"] == "2025-06-18"
    assert "mcp-session-id" not in hello.headers
    assert (noted.status_code, noted.content) == (202, b"")
    assert (old.status_code, listened.status_code) == (400, 405)
    assert isinstance(hello, httpx.Response)

"""The mcp tool against servers of the protocol's own library, and against odd ones."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from noetl.stack.process import free_port
from noetl_testkit.waiting import wait_until
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.tools.mcp.mcp import Mcp
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError
from tool_server import Asked, Said, tool_server

FORMS = ("json stateful", "events stateful", "events stateless")


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of real servers, by the form in which they answer."""
    program = Path(__file__).with_name("mcp_server.py")
    log = tmp_path_factory.mktemp("mcp") / "log"
    with ExitStack() as stack:
        file = stack.enter_context(log.open("wb"))
        ports = {form: free_port() for form in FORMS}
        for form, port in ports.items():
            process = subprocess.Popen(
                [sys.executable, str(program), str(port), *form.split()], stdout=file, stderr=file
            )
            stack.callback(process.wait, timeout=10)
            stack.callback(process.kill)
        wait_until(lambda: all(map(is_ready, ports.values())))
        yield {form: f"http://127.0.0.1:{port}/mcp" for form, port in ports.items()}


async def call(
    toolbox: ToolRegistry, config: dict[str, Any], *, seconds: float = 20, **environment: str
) -> dict[str, Any]:
    context = ToolContext(
        variables={"n": 2}, execution_id=7, step="s", server_url="", toolbox=toolbox
    )
    async with open_tool_client(seconds=seconds, trust_env=False) as client:
        tool = Mcp(
            client, seconds=seconds, most_seconds=30, most_bytes=100_000, environment=environment
        )
        result = await tool.run(config, context)
    assert result.status == "success"
    assert isinstance(result.data, dict)
    return result.data


@pytest.mark.parametrize("form", FORMS)
async def test_a_tool_is_called(
    toolbox: ToolRegistry, endpoints: dict[str, str], form: str
) -> None:
    endpoint = endpoints[form]
    config = {
        "server": "weather",
        "endpoint": f"{endpoint}/",
        "tool": "add",
        "arguments": {"a": "{{ n }}", "b": 3},
    }

    data = await call(toolbox, config)

    assert data.pop("initialize")["serverInfo"]["name"] == "weather"
    assert data.pop("result")["content"] == [{"type": "text", "text": "5"}]
    assert data == {
        "status": "ok",
        "server": "weather",
        "endpoint": endpoint,
        "method": "tools/call",
        "tool": "add",
        "arguments": {"a": 2, "b": 3},
        "text": "5",
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"tool_name": "add", "args": '{"a": 1, "b": 1}'}, {"text": "2", "status": "ok"}),
        ({"tool": "lines"}, {"text": "one\ntwo", "arguments": None}),
        ({"method": "ping"}, {"text": "{}", "result": {}, "tool": None}),
        ({"action": "health"}, {"text": "fine", "result": "fine", "initialize": None}),
    ],
)
async def test_other_ways_of_asking(
    toolbox: ToolRegistry, endpoints: dict[str, str], config: dict[str, Any], expected: Any
) -> None:
    data = await call(toolbox, {"url": endpoints["json stateful"], **config})

    assert {key: data[key] for key in expected} == expected


async def test_methods_with_parameters(toolbox: ToolRegistry, endpoints: dict[str, str]) -> None:
    config = {"endpoint": endpoints["events stateful"], "method": "tools/list", "params": {}}

    data = await call(toolbox, config)

    assert [tool["name"] for tool in data["result"]["tools"]] == ["add", "fail", "lines"]


async def test_a_failing_tool_is_a_result_of_the_server(
    toolbox: ToolRegistry, endpoints: dict[str, str]
) -> None:
    data = await call(toolbox, {"endpoint": endpoints["json stateful"], "tool": "fail"})

    assert data["status"] == "ok"
    assert data["result"]["isError"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, "MCP config error: mcp tool name is required for tools/call"),
        ({"tool": "x", "args": "[1]"}, "MCP config error: arguments are no JSON object"),
        ({"method": "tools/nonsense"}, "MCP JSON-RPC error: "),
        ({"endpoint": "http://127.0.0.1:1", "tool": "x"}, "MCP HTTP error: "),
    ],
)
async def test_what_goes_wrong_is_data(
    toolbox: ToolRegistry, endpoints: dict[str, str], config: dict[str, Any], error: str
) -> None:
    config = {"endpoint": endpoints["json stateful"], "server": "w", **config}

    data = await call(toolbox, config)

    assert data["error"].startswith(error)
    assert data == {
        "status": "error",
        "server": "w",
        "endpoint": config["endpoint"],
        "method": config.get("method", "tools/call"),
        "error": data["error"],
        "text": data["error"],
    }


def reply(asked: Asked) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": asked.json.get("id"), "result": {"content": []}}


EVENTS = {"Content-Type": "text/event-stream"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (lambda _: Said(b"busy", 503), "MCP HTTP error: HTTP 503: busy"),
        (lambda _: Said(b"<html>"), "MCP envelope parse error: "),
        (lambda _: Said(b"x" * 100_001), "MCP HTTP error: the answer has more than 100000 bytes"),
        (lambda _: Said({"jsonrpc": "2.0", "id": 99, "result": 1}), "MCP envelope parse error: "),
        (
            lambda asked: Said({"id": asked.json.get("id"), "error": {"code": -1}}),
            'MCP JSON-RPC error: {"code":-1}',
        ),
        (lambda _: Said(b"data: {}\n\n", headers=EVENTS), "MCP envelope parse error: there is no"),
        (
            lambda _: Said(b"?", headers={"Content-Encoding": "gzip"}),
            "MCP HTTP error: the answer is packed",
        ),
        (lambda _: Said(b"data: ?\n\n", headers=EVENTS), "MCP envelope parse error: "),
        (lambda _: Said(b":" * 100_001, headers=EVENTS), "MCP HTTP error: the answer has more"),
    ],
)
async def test_odd_servers(toolbox: ToolRegistry, said: Any, error: str) -> None:
    with tool_server(said) as server:
        data = await call(toolbox, {"endpoint": server.url, "tool": "x"})

    assert data["error"].startswith(error)


async def test_what_is_sent(toolbox: ToolRegistry) -> None:
    headers = {"Mcp-Session-Id": "abc"}
    with tool_server(lambda asked: Said(reply(asked) if asked.data else b"", headers=headers)) as (
        server
    ):
        config = {"tool": "x", "request_id": 5, "protocol_version": "v", "client_name": "me"}
        await call(toolbox, config, NOETL_MCP_KUBERNETES_ENDPOINT=server.url, NOETL_MCP_URL="no")

    first, ready, second, last = server.asked
    assert first.json == {
        "jsonrpc": "2.0",
        "id": 5,
        "method": "initialize",
        "params": {
            "protocolVersion": "v",
            "capabilities": {},
            "clientInfo": {"name": "me", "version": "0"},
        },
    }
    assert "id" not in ready.json
    assert (second.json["id"], second.json["params"]) == (6, {"name": "x", "arguments": {}})
    assert first.headers["accept"] == "application/json, text/event-stream"
    assert [one.headers.get("mcp-session-id") for one in server.asked] == [None, *["abc"] * 3]
    assert last.method == "DELETE"


async def test_without_an_endpoint_it_raises(toolbox: ToolRegistry) -> None:
    with pytest.raises(
        ToolError,
        match=r"^Configuration error: mcp endpoint is required for server 'a-b'\. .*"
        r"NOETL_MCP_A_B_ENDPOINT",
    ):
        await call(toolbox, {"server": "a-b", "tool": "x"})


async def test_a_server_that_hangs_is_given_up(toolbox: ToolRegistry) -> None:
    released = threading.Event()
    with tool_server(lambda asked: Said(reply(asked), 200 if released.wait(30) else 500)) as server:
        data = await call(toolbox, {"endpoint": server.url, "tool": "x", "timeout": 0})
        released.set()

    assert data["error"] == "MCP HTTP error: no answer in 0.1 seconds"


async def test_a_tool_may_think_for_longer_than_the_client_waits(toolbox: ToolRegistry) -> None:
    def slowly(asked: Asked) -> Said:
        threading.Event().wait(0.3)
        return Said(reply(asked) if asked.data else b"")

    with tool_server(slowly) as server:
        config = {"endpoint": server.url, "tool": "x", "timeout": 20}
        data = await call(toolbox, config, seconds=0.1)

    assert data["status"] == "ok"

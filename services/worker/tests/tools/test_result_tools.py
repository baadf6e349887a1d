"""Stored results, fetched over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.settings import Settings
from noetl_worker.tools.artifact import Artifact
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.result_fetch import ResultFetch
from noetl_worker.tools.tool import Tool, ToolContext, ToolError
from tool_server import Asked, Said, ToolServer, tool_server

REF = "noetl://execution/7/result/a step/9"
STORED = {"status": "success", "data": {"n": 1}, "stdout": "x"}


def answer(asked: Asked) -> Said:
    ref = asked.query.get("ref")
    if ref == REF:
        return Said(STORED)
    if ref == "large":
        return Said(b'"' + b"x" * 5000 + b'"')
    if ref == "text":
        return Said(b"no json")
    return Said({"error": "result not found"}, 404)


@pytest.fixture
def server() -> Iterator[ToolServer]:
    with tool_server(answer) as running:
        yield running


@pytest.fixture
async def tools() -> AsyncIterator[dict[str, Tool]]:
    async with open_edge(Settings()) as edge:
        yield {
            "artifact": Artifact(edge, most=4096),
            "result_fetch": ResultFetch(edge, most=4096),
        }


@pytest.fixture
def context(server: ToolServer, toolbox: ToolRegistry) -> ToolContext:
    return ToolContext(
        variables={"big": {"_ref": REF}}, execution_id=7, event_id=3, step="s",
        server_url=server.url, toolbox=toolbox,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("artifact", {"input": {"result_ref": "{{ big._ref }}"}}),
        ("artifact", {"action": "get", "args": {"result_ref": REF}}),
        ("result_fetch", {"ref": "{{ big._ref }}"}),
        ("result_fetch", {"ref": REF, "prefer": "http", "flight_endpoint": "http://x:1"}),
    ],
)
async def test_the_stored_document_is_the_data(
    tools: dict[str, Tool],
    server: ToolServer,
    context: ToolContext,
    kind: str,
    config: dict[str, Any],
) -> None:
    result = await tools[kind].run(config, context)

    assert (result.status, result.data) == ("success", STORED)
    assert server.paths() == ["GET /api/result/resolve"]


CONFIG = "Configuration error: Invalid artifact config: "


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("artifact", {}, CONFIG + "missing field `input`"),
        ("artifact", {"input": {}}, CONFIG + "missing field `result_ref`"),
        (
            "artifact",
            {"input": {"result_ref": "{{ nothing._ref }}"}},
            CONFIG + "invalid type: null, expected a string",
        ),
        ("artifact", {"input": {}, "args": {}}, CONFIG + "duplicate field `input`"),
        (
            "artifact",
            {"action": "list"},
            (
                "Configuration error: artifact action='list' is not supported "
                "(only 'get' is implemented)"
            ),
        ),
        (
            "artifact",
            {"action": "put"},
            (
                "Configuration error: artifact action=put is not supported in the Rust path; "
                "nor here: large results are stored by themselves"
            ),
        ),
        (
            "result_fetch",
            {},
            "Configuration error: Invalid result_fetch config: missing field `ref`",
        ),
        (
            "result_fetch",
            {"ref": REF, "prefer": "carrier pigeon"},
            (
                "Configuration error: Invalid result_fetch config: unknown variant "
                "`carrier pigeon`, expected one of `flight`, `http`"
            ),
        ),
        (
            "result_fetch",
            {"ref": REF, "client_key_path": "k"},
            "Configuration error: client_cert_path and client_key_path must be given together",
        ),
        (
            "result_fetch",
            {"ref": "unknown"},
            'HTTP error: /api/result/resolve returned 404: {"error":"result not found"}',
        ),
        (
            "result_fetch",
            {"ref": "large"},
            "HTTP error: /api/result/resolve: the answer has more than 4096 bytes",
        ),
    ],
)
async def test_what_cannot_be_fetched_raises(
    tools: dict[str, Tool], context: ToolContext, kind: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await tools[kind].run(config, context)

    assert message == str(raised.value)


async def test_a_document_that_is_no_json_raises(
    tools: dict[str, Tool], context: ToolContext
) -> None:
    with pytest.raises(ToolError, match=r"^JSON error: "):
        await tools["result_fetch"].run({"ref": "text"}, context)


async def test_no_answer_is_waited_for_until_the_step_is_over(
    tools: dict[str, Tool], context: ToolContext
) -> None:
    context.server_url = "http://127.0.0.1:1"
    running = asyncio.create_task(
        tools["artifact"].run({"input": {"result_ref": REF}}, context)  # type: ignore[arg-type]
    )

    done, _ = await asyncio.wait([running], timeout=1)

    assert not done
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()

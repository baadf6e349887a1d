"""Names and schemas of the tools that playbooks are."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import orjson
from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.routes.mcp.calls import call_tool
from noetl_api_gateway.routes.mcp.tools import names_of, page_of_tools, schema_of
from noetl_console.api import Answer, Api
from noetl_contract.http.catalog.entries import UiField

STATUS: dict[str, Any] = {
    "execution_id": "7", "status": "RUNNING", "current_step": None, "is_cancelled": False,
    "progress": {"total_steps": 1, "completed_steps": 0, "running_steps": 1, "failed_steps": 0},
    "completed": False, "failed": False, "completed_steps": [], "start_time": "x",
    "end_time": None, "duration_seconds": 1.0, "duration_human": "1s", "soft_errors": 0,
}  # fmt: skip


def field(**changes: Any) -> UiField:
    usual: dict[str, Any] = {
        "name": "a", "kind": "string", "default": "x", "description": None, "secret": False,
        "credential_glob": None, "options": None, "children": None,
    }  # fmt: skip
    return UiField.model_validate({**usual, **changes})


def test_names_have_the_letters_that_clients_take_and_differ() -> None:
    names = names_of(["a/b", "c/d.e", "c/d_e", "noetl_execution", "x" * 70])

    assert names["a/b"] == "a_b"
    assert len({*names.values()}) == 5
    assert "noetl_execution" not in names.values()
    assert all(len(name) <= 64 for name in names.values())
    assert names["c/d.e"].startswith("c_d_e_")


def test_a_secret_s_default_is_not_told() -> None:
    assert schema_of(field(secret=True, default="geheim")) == {"type": "string", "writeOnly": True}
    assert schema_of(field(kind="null", default=None, credential_glob="pg_*")) == {
        "description": "name of a credential, like pg_*"
    }
    inner = field(name="n", kind="integer", default=3).model_dump()
    assert schema_of(field(kind="object", default={"n": 3}, children=[inner])) == {
        "type": "object",
        "properties": {"n": {"type": "integer", "default": 3}},
    }


class Scripted:
    """Answers of the API by path."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    async def __call__(
        self,
        _method: str,
        path: str,
        _query: Mapping[str, str],
        _body: bytes | None,
        _key: str | None = None,
    ) -> Answer:
        status, body = self.answers.get(path.removeprefix("/noetl/"), (404, {"error": "none"}))
        return Answer(status, orjson.dumps(body))


def gateway(*, waits: int) -> Gateway:
    settings = SimpleNamespace(mcp_wait_seconds=60.0 if waits else 0.01, mcp_waits=waits)
    edge = SimpleNamespace(settings=settings, closing=asyncio.Event(), waiting_calls=0)
    return cast("Gateway", edge)


async def test_who_waits_too_long_gets_a_handle() -> None:
    api = Api(Scripted(**{"executions/7/status": (200, STATUS)}))

    told = await call_tool(api, gateway(waits=0), "noetl_execution", {"execution_id": "7"})

    assert told["structuredContent"] == {"execution_id": "7", "status": "RUNNING"}
    assert "Call noetl_execution" in told["content"][0]["text"]


async def test_an_edge_that_stops_lets_nobody_wait() -> None:
    api, edge = Api(Scripted(**{"executions/7/status": (200, STATUS)})), gateway(waits=1)
    edge.closing.set()

    told = await call_tool(api, edge, "noetl_execution", {"execution_id": "7"})

    assert told["structuredContent"]["status"] == "RUNNING"


async def test_tools_come_in_pages_and_refusals_are_the_callers() -> None:
    entries = [
        {
            "catalog_id": "1", "path": f"p/{number:03}", "kind": "playbook", "version": 1,
            "content": None, "layout": None, "payload": None, "meta": None, "created_at": "x",
        }
        for number in range(60)
    ]  # fmt: skip
    api = Api(Scripted(**{"catalog/agents/list": (200, {"entries": entries})}))
    tools, after = await page_of_tools(api, 0)
    # Their documents are gone meanwhile.
    assert ([one["name"] for one in tools], after) == (["noetl_execution"], 50)
    assert await page_of_tools(api, 50) == ([], None)

    closed = Api(Scripted(**{"catalog/agents/list": (403, {"error": "lacks catalog.read"})}))
    told = await call_tool(closed, gateway(waits=1), "p_001", {})
    assert (told["isError"], told["content"][0]["text"]) == (True, "lacks catalog.read")

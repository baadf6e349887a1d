"""Names and schemas of the tools that playbooks are."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import orjson
from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.routes.mcp.calls import call_tool
from noetl_api_gateway.routes.mcp.progress import Progress, ProgressStream
from noetl_api_gateway.routes.mcp.tools import Forms, names_of, page_of_tools, schema_of
from noetl_console.api import Answer, Api
from noetl_contract.http.catalog.entries import UiField
from noetl_testkit.waiting import unless_it_hangs

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
    """Answers of the API by path; a list of them, one after the other."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(
        self,
        _method: str,
        path: str,
        _query: Mapping[str, str],
        _body: bytes | None,
        _key: str | None = None,
    ) -> Answer:
        self.asked.append(path.removeprefix("/noetl/"))
        found = self.answers.get(self.asked[-1], (404, {"error": "none"}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        status, body = found
        return Answer(status, orjson.dumps(body))


def gateway(*, waits: int) -> Gateway:
    settings = SimpleNamespace(mcp_wait_seconds=60.0 if waits else 0.01, mcp_waits=waits)
    edge = SimpleNamespace(
        settings=settings, closing=asyncio.Event(), waiting_calls=0, tool_forms=Memory(10)
    )
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
    forms: Forms = Memory(10)
    tools, after = await page_of_tools(api, forms, 0)
    # Their documents are gone meanwhile.
    assert ([one["name"] for one in tools], after) == (["noetl_execution"], 50)
    assert await page_of_tools(api, forms, 50) == ([], None)

    closed = Api(Scripted(**{"catalog/agents/list": (403, {"error": "lacks catalog.read"})}))
    told = await call_tool(closed, gateway(waits=1), "p_001", {})
    assert (told["isError"], told["content"][0]["text"]) == (True, "lacks catalog.read")


async def test_the_form_of_a_version_is_asked_for_once() -> None:
    entry = {
        "catalog_id": "1", "path": "p/a", "kind": "playbook", "version": 1,
        "content": None, "layout": None, "payload": None, "meta": None, "created_at": "x",
    }  # fmt: skip
    form = {
        "path": "p/a", "version": 1, "kind": "playbook", "title": "A", "exposed_in_ui": True,
        "description_markdown": None, "fields": [], "generated_at": "x",
    }  # fmt: skip
    scripted = Scripted(
        **{
            "catalog/agents/list": (200, {"entries": [entry]}),
            "catalog/p/a/ui_schema": (200, form),
        }
    )
    forms: Forms = Memory(10)
    first, _ = await page_of_tools(Api(scripted), forms, 0)
    again, _ = await page_of_tools(Api(scripted), forms, 0)
    # A new version, whose form is another one.
    entry |= {"catalog_id": "2", "version": 2}
    form |= {"version": 2, "title": "B"}
    newer, _ = await page_of_tools(Api(scripted), forms, 0)

    assert [one["title"] for one in (first[1], again[1], newer[1])] == ["A", "A", "B"]
    assert scripted.asked.count("catalog/p/a/ui_schema") == 2


def standing(count: int, *names: str, status: str = "RUNNING") -> dict[str, Any]:
    progress = {**STATUS["progress"], "completed_steps": count}
    return {**STATUS, "status": status, "progress": progress, "completed_steps": [*names]}


async def test_progress_is_told_when_steps_have_ended_and_only_then() -> None:
    stands = [
        standing(0),
        standing(1, "a"),
        standing(1, "a"),
        standing(7, *"abcdefg"),
        standing(8, *"abcdefg", status="CANCELLED"),
    ]
    api = Api(Scripted(**{"executions/7/status": [(200, one) for one in stands]}))
    sent: list[Any] = []

    async def take(message: Any) -> None:
        sent.append(message)

    await call_tool(
        api,
        gateway(waits=1),
        "noetl_execution",
        {"execution_id": "7"},
        Progress("t", take).tell,
    )

    assert {one["method"] for one in sent} == {"notifications/progress"}
    assert [one["params"] for one in sent] == [
        {"progressToken": "t", "progress": 1, "message": "over: a"},
        {"progressToken": "t", "progress": 7, "message": "over: b, c, d, e, f and 1 more"},
        {"progressToken": "t", "progress": 8},
    ]


async def streamed(call: Any, *, leaves: bool = False, heartbeat: float = 60.0) -> str:
    """Return the messages of a stream."""
    parts: list[bytes] = []

    async def receive() -> Any:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    async with unless_it_hangs():
        stream = ProgressStream(5, "t", call, heartbeat_seconds=heartbeat)
        await stream({}, receive, send)  # type: ignore[arg-type,typeddict-item]
    return b"".join(parts).decode()


async def test_a_stream_ends_with_the_answer_whatever_happens() -> None:
    async def fails(_told: Any) -> Any:
        raise RuntimeError("secret")

    async def waits(_told: Any) -> Any:
        await asyncio.Event().wait()

    beaten = asyncio.Event()

    async def slow(_told: Any) -> Any:
        asyncio.get_running_loop().call_later(0.1, beaten.set)
        await beaten.wait()
        return {"content": []}

    assert '"code":-32603,"message":"Internal error"' in await streamed(fails)
    assert await streamed(waits, leaves=True) == ""
    told = await streamed(slow, heartbeat=0.03)
    assert told.startswith(": keep-alive\n\n")
    # One more may be due in the moment of the answer.
    message = 'event: message\ndata: {"jsonrpc":"2.0","id":5,"result":{"content":[]}}\n\n'
    assert told.replace(": keep-alive\n\n", "") == message

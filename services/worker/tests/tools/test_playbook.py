"""Children of a playbook, against a control plane that answers over real HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from noetl_testkit.waiting import eventually
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.settings import Settings
from noetl_worker.tools.playbook import Playbook
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError
from tool_server import Asked, Said, ToolServer, tool_server


def call_done(step: str, data: Any) -> dict[str, Any]:
    inner = {"status": "success", "context": {"status": "success", "data": data}}
    context = {"command_id": "c", "call_index": 0, "result": inner}
    return {"node_name": step, "result": {"status": "COMPLETED", "context": context}}


@dataclass
class Family:
    """Answers of the control plane about the one child."""

    statuses: list[dict[str, Any]] = field(default_factory=list)
    starts: list[Said] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, Said] = field(default_factory=dict)
    has_status_route: bool = True

    def answer(self, asked: Asked) -> Said:
        path = asked.path.partition("/api/")[2]
        if path == "execute":
            default = Said({"execution_id": "55", "status": "started", "commands_generated": 1})
            return self.starts.pop(0) if self.starts else default
        if path == "executions/55/events":
            page = int(asked.query["page"])
            return Said(
                {
                    "events": self.events[page - 1 : page],
                    "pagination": {"has_next": page < len(self.events)},
                }
            )
        if path == "result/resolve":
            return self.stored[asked.query["ref"]]
        if path == "executions/55/status" and not self.has_status_route:
            return Said(b"nothing here", 404)
        return Said(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


@pytest.fixture
def family() -> Family:
    return Family()


@pytest.fixture
def server(family: Family) -> Iterator[ToolServer]:
    with tool_server(family.answer) as running:
        yield running


@pytest.fixture
async def playbook() -> AsyncIterator[Playbook]:
    async with open_edge(Settings(internal_api_token="t0ken")) as edge:
        yield Playbook(edge, most=1 << 20, least_poll_seconds=0.01)


@pytest.fixture
def context(server: ToolServer, toolbox: ToolRegistry) -> ToolContext:
    return ToolContext(
        variables={"who": "Ada"}, execution_id=7, event_id=3, step="s",
        server_url=server.url.replace("//", "//7.3:1.secret@"), toolbox=toolbox,
    )  # fmt: skip


def starts(server: ToolServer) -> list[Asked]:
    return [one for one in server.asked if one.path.endswith("/api/execute")]


async def test_a_child_is_started_and_not_waited_for(
    playbook: Playbook, server: ToolServer, context: ToolContext
) -> None:
    config = {"path": "a/b", "args": {"name": "{{ who }}"}, "version": 2}

    result = (await playbook.run(config, context)).to_json()

    assert result == {
        "status": "success",
        "data": {"status": "started", "execution_id": "55", "path": "a/b", "async": True},
    }
    (start,) = server.asked
    assert (start.method, start.path) == ("POST", "/api/execute")
    login = base64.b64encode(b"7.3:1.secret").decode()
    assert start.headers["authorization"] == f"Basic {login}"
    assert start.json == {
        "path": "a/b",
        "version": 2,
        "payload": {"name": "Ada"},
        "parent_execution_id": 7,
    }


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        ({"payload": {"a": 1}}, {"payload": {"a": 1}}),
        ({"args": {}, "payload": {"a": 1}}, {"payload": {"a": 1}}),
        ({"input": {"b": 2}, "payload": {"a": 1}}, {"payload": {"b": 2}}),
        ({"args": {"c": 3}, "input": {"b": 2}}, {"payload": {"c": 3}}),
        ({"args": "text", "payload": {"a": 1}}, {"payload": {}}),
        ({}, {"payload": {}}),
        ({"version": "latest"}, {"payload": {}}),
        ({"version": "3"}, {"payload": {}, "version": 3}),
        ({"parent_execution_id": 9}, {"payload": {}, "parent_execution_id": 9}),
        ({"parent_execution_id": 0}, {"payload": {}, "parent_execution_id": None}),
    ],
)
async def test_what_a_child_gets(
    playbook: Playbook,
    server: ToolServer,
    context: ToolContext,
    config: dict[str, Any],
    sent: dict[str, Any],
) -> None:
    await playbook.run({"path": "p", **config}, context)

    expected = {"path": "p", "parent_execution_id": 7, **sent}
    if expected["parent_execution_id"] is None:
        del expected["parent_execution_id"]
    assert server.asked[0].json == expected


async def test_nothing_is_added_to_an_address_that_does_not_name_the_command(
    playbook: Playbook, server: ToolServer, context: ToolContext
) -> None:
    context.server_url = f"{server.url}/"

    await playbook.run({"catalog_id": 12}, context)

    assert server.asked[0].path == "/api/execute"
    assert "authorization" not in server.asked[0].headers
    assert server.asked[0].json["catalog_id"] == 12


async def test_a_start_that_is_tried_again_is_the_same_start(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext
) -> None:
    family.starts = [Said(status=503), Said(status=502)]

    await playbook.run({"path": "p"}, context)
    keys = [one.headers["idempotency-key"] for one in starts(server)]

    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.fixture
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noetl_worker.tools.edge_calls._LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("noetl_worker.tools.edge_calls._FIRST_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_start_waits_as_long_as_the_edge_is_away(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext, status: int
) -> None:
    family.starts = [Said(status=status)] * 20

    result = await playbook.run({"path": "p"}, context)

    assert result.data["execution_id"] == "55"
    assert len({one.headers["idempotency-key"] for one in starts(server)}) == 1
    assert len(starts(server)) == 21


@pytest.mark.usefixtures("quick_pauses")
async def test_a_start_waits_while_connections_break(
    playbook: Playbook, server: ToolServer, context: ToolContext
) -> None:
    place = server.url.rpartition(":")[2]
    broken = 0

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal broken
        if broken < 8:
            broken += 1
            writer.close()
            return
        to, out = await asyncio.open_connection("127.0.0.1", int(place))
        await asyncio.gather(pump(reader, out), pump(to, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A request or an answer may come in pieces.
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        context.server_url = context.server_url.replace(f":{place}", f":{port}")
        result = await playbook.run({"path": "p"}, context)
        proxy.close_clients()

    assert broken == 8
    assert result.data["execution_id"] == "55"


@pytest.mark.usefixtures("quick_pauses")
async def test_a_cancel_ends_the_wait_for_the_edge(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext
) -> None:
    family.starts = [Said(status=503)] * 10_000
    running = asyncio.create_task(playbook.run({"path": "p"}, context))
    await eventually(lambda: len(starts(server)) > 5, what="it is tried again")
    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
async def test_a_refusal_of_a_start_is_for_good(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext, status: int
) -> None:
    family.starts = [Said(b"no", status)]

    with pytest.raises(ToolError, match=f"Failed to start child playbook: {status} no"):
        await playbook.run({"path": "p"}, context)

    assert len(starts(server)) == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://[::1"])
async def test_an_address_that_is_none_is_not_waited_for(
    playbook: Playbook, context: ToolContext, url: str
) -> None:
    context.server_url = url

    with pytest.raises(ToolError, match="HTTP error: /api/execute: "):
        await playbook.run({"path": "p"}, context)


@pytest.mark.usefixtures("quick_pauses")
async def test_the_result_of_an_ended_child_is_waited_for(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext
) -> None:
    """The edge goes away between the child's end and the reading of its result."""
    family.statuses = [DONE]
    family.events = [call_done("score", 5)]
    answer, away = server.answer, 12

    def away_for_a_while(asked: Asked) -> Said:
        nonlocal away
        if asked.path.endswith("/events") and away:
            away -= 1
            return Said(status=503)
        return answer(asked)

    server.answer = away_for_a_while

    assert (await playbook.run(WAITING, context)).data == 5
    assert away == 0


async def test_starts_are_told_apart_and_found_again_by_another_run(
    playbook: Playbook, server: ToolServer, context: ToolContext
) -> None:
    configs = [{"path": "p"}, {"path": "p"}, {"path": "q"}]
    again = context.with_variables({})
    again.child_starts = type(context.child_starts)()
    for config in configs:
        await playbook.run(config, context)
    for config in configs:
        await playbook.run(config, again)

    keys = [one.headers["idempotency-key"] for one in starts(server)]
    assert keys[:3] == keys[3:]
    assert len(set(keys)) == 3


async def test_a_repeated_start_answers_like_the_first(
    playbook: Playbook, family: Family, context: ToolContext
) -> None:
    family.starts = [Said({"execution_id": "55", "status": "duplicate"})]

    assert (await playbook.run({"path": "p"}, context)).data["status"] == "started"


WAITING = {"path": "p", "return_step": "score", "poll_interval": 0}
DONE = {"execution_id": "55", "status": "COMPLETED"}


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        ({"score": 5}, {"score": 5}),
        ([1, 2], [1, 2]),
        (
            {"a": {"x": 1}, "b": {"x": 2, "y": 3}},
            {"a": {"x": 1}, "b": {"x": 2, "y": 3}, "x": 2, "y": 3},
        ),
        ({"_ref": "noetl://execution/7/result/score/1"},) * 2,
        ({}, {}),
    ],
)
async def test_the_steps_newest_data_is_the_result(
    playbook: Playbook, family: Family, context: ToolContext, data: Any, seen: Any
) -> None:
    family.statuses = [{"status": "RUNNING"}, {"status": "RUNNING"}, DONE]
    family.events = [
        call_done("other", 1),
        call_done("score", data),
        call_done("score", "older"),
    ]

    assert seen == (await playbook.run(WAITING, context)).data


REF = "noetl://execution/55/result/score/1"


async def test_data_of_the_result_store_is_the_result_too(
    playbook: Playbook, family: Family, context: ToolContext
) -> None:
    family.statuses = [DONE]
    family.events = [call_done("score", {"_ref": REF, "total": 2})]
    family.stored = {REF: Said({"status": "success", "data": {"rows": [1, 2], "total": 2}})}

    assert (await playbook.run(WAITING, context)).data == {"rows": [1, 2], "total": 2}


async def test_data_that_the_result_store_has_no_more_is_an_error(
    playbook: Playbook, family: Family, context: ToolContext
) -> None:
    family.statuses = [DONE]
    family.events = [call_done("score", {"_ref": REF})]
    family.stored = {REF: Said({"error": "result not found"}, 404)}

    with pytest.raises(ToolError, match=f"Failed to read the child's result {REF}: 404"):
        await playbook.run(WAITING, context)


@pytest.mark.parametrize(
    "document",
    [
        {"status": "FAILED", "error": "no"},
        {"status": "CANCELLED"},
        {"status": "RUNNING", "is_cancelled": True},
        DONE,
    ],
)
async def test_without_the_steps_data_the_status_document_is_the_result(
    playbook: Playbook, family: Family, context: ToolContext, document: dict[str, Any]
) -> None:
    family.statuses = [document]
    family.has_status_route = False

    result = await playbook.run(WAITING, context)

    assert (result.status, result.data) == ("success", document)


async def test_the_wait_has_an_end_and_the_child_goes_on(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext
) -> None:
    family.statuses = [{"status": "RUNNING"}]

    result = await playbook.run({**WAITING, "timeout": 0}, context)

    assert result.data == {"status": "timeout", "execution_id": "55", "timeout_seconds": 0}
    assert len(server.asked) == 1


async def test_giving_up_leaves_the_child_alone(
    playbook: Playbook, server: ToolServer, family: Family, context: ToolContext
) -> None:
    family.statuses = [{"status": "RUNNING"}]
    polled = asyncio.get_running_loop().create_future()
    answer = server.answer

    def tell(asked: Asked) -> Said:
        if asked.method == "GET" and not polled.done():
            polled.get_loop().call_soon_threadsafe(lambda: polled.done() or polled.set_result(1))
        return answer(asked)

    server.answer = tell
    running = asyncio.create_task(playbook.run(WAITING, context))
    await polled
    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert {"GET"} == {one.method for one in server.asked[1:]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"path": "p", "answers": [Said(b"no such playbook", 404)]},
            "HTTP error: Failed to start child playbook: 404 no such playbook",
        ),
        ({"path": "p", "answers": [Said(b"?")]}, None),
        (
            {"path": "p", "answers": [Said({"status": "started"})]},
            "JSON error: the answer to the start has no `execution_id`",
        ),
        ({}, "Configuration error: Playbook execution requires `path` or `catalog_id`"),
        (
            {"path": "p", "version": "new"},
            (
                "Configuration error: Invalid playbook config: "
                'invalid value: string "new", expected a version or "latest"'
            ),
        ),
        (
            {"catalog_id": "x"},
            'Configuration error: Invalid playbook config: invalid type: string "x", expected i64',
        ),
    ],
)
async def test_what_cannot_be_started_raises(
    playbook: Playbook,
    family: Family,
    context: ToolContext,
    config: dict[str, Any],
    message: str | None,
) -> None:
    family.starts = config.pop("answers", [])

    with pytest.raises(ToolError) as raised:
        await playbook.run(config, context)

    if message is None:
        assert str(raised.value).startswith("JSON error: the answer is no JSON: ")
    else:
        assert message == str(raised.value)


async def test_without_an_address_there_is_no_child(
    playbook: Playbook, context: ToolContext
) -> None:
    context.server_url = ""

    with pytest.raises(ToolError, match=r"server_url is required for playbook tool$"):
        await playbook.run({"path": "p"}, context)

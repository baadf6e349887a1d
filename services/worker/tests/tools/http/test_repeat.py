"""The ``retry`` rules of the http tool: tries and pages against a real server."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from noetl_worker.commands import Command
from noetl_worker.run.runner import _lift, _Malformed
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult
from tool_server import Asked, Said, ToolServer, tool_server

ITEMS = list(range(7))


@dataclass
class Api:
    """Seven items in pages of three, by number, by cursor and by link; set failures come first."""

    failures: list[Said] = field(default_factory=list)

    def answer(self, asked: Asked) -> Said:
        if self.failures:
            return self.failures.pop(0)
        page = int(asked.query.get("page", 1))
        items = ITEMS[3 * (page - 1) : 3 * page]
        more = 3 * page < len(ITEMS)
        body: dict[str, Any] = {"data": {"items": items}, "paging": {"page": page, "more": more}}
        if more:
            host = asked.headers["host"]
            body["next"] = f"http://{host}/items?page={page + 1}"
            body["elsewhere"] = f"http://localhost:{host.partition(':')[2]}/items?page={page + 1}"
        return Said(body)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[ToolServer]:
    with tool_server(api.answer) as running:
        yield running


async def call(toolbox: ToolRegistry, server: ToolServer, retry: Any, **config: Any) -> ToolResult:
    context = ToolContext(
        variables={"size": 3}, execution_id=7, step="s", server_url="", toolbox=toolbox,
        auth={"type": "bearer", "token": "t"},
    )  # fmt: skip
    url = f"{server.url}/items"
    return await toolbox.run("http", {"url": url, "retry": retry, **config}, context)


def pages(when: str = "{{ response.paging.more }}", **then: Any) -> dict[str, Any]:
    number = {"params": {"page": "{{ response.paging.page + 1 }}"}}
    collect = {"strategy": "append", "path": "data.items"}
    return {"when": when, "then": {"next_call": number, "collect": collect, **then}}


def tries(when: str = "{{ error.status >= 500 }}", **then: Any) -> dict[str, Any]:
    return {"when": when, "then": {"initial_delay": 0, **then}}


async def test_pages_are_gathered(toolbox: ToolRegistry, server: ToolServer) -> None:
    result = await call(toolbox, server, [pages()], params={"size": "{{ size }}"})

    assert result.status == "success"
    assert result.data["data"] == ITEMS
    assert result.data["meta"] == {"iterations": 3, "collect_strategy": "append"}
    assert result.data["status_code"] == 200
    assert [one.query for one in server.asked] == [
        {"size": "3"},
        {"size": "3", "page": "2"},
        {"size": "3", "page": "3"},
    ]


@pytest.mark.parametrize(
    ("rule", "gathered", "count"),
    [
        (pages(max_attempts=2), ITEMS[:6], 2),
        (pages(collect={"strategy": "replace", "path": "data.items"}), [6], 3),
        (
            pages(collect={"strategy": "merge", "path": "paging"}),
            {"page": 3, "more": False},
            3,
        ),
        (pages(collect={"path": "paging.page"}), [1, 2, 3], 3),
        (pages("{{ page.paging.more and pages | length < 3 }}"), ITEMS[:6], 2),
        (pages("{{ _retry.index < 2 }}"), ITEMS[:6], 2),
        (pages("no"), ITEMS[:3], 1),
        (pages(next_call={"url": "{{ response.next }}"}), ITEMS, 3),
    ],
)
async def test_how_pages_are_gathered(
    toolbox: ToolRegistry, server: ToolServer, rule: dict[str, Any], gathered: Any, count: int
) -> None:
    result = await call(toolbox, server, [rule])

    assert result.data["data"] == gathered
    assert result.data["meta"]["iterations"] == count
    assert len(server.asked) == count


@pytest.mark.parametrize(
    ("nexts", "count"),
    [
        ([2, 3, None], 3),
        ([2, 3, 0], 3),
        (["2", "3", ""], 3),
        (["cursor-a", "cursor-b"], 3),
        (["https://api.example/items?page=2", False], 2),
        ([["more"], []], 2),
        ([{"page": 2}, {}], 2),
        (["yes", "no"], 2),
        (["true", "False"], 2),
        ([0.5, "null"], 2),
    ],
)
@pytest.mark.parametrize("when", ["{{ response.next }}", "response.next"])
async def test_a_rule_holds_for_what_a_guard_takes_for_true(
    toolbox: ToolRegistry, server: ToolServer, nexts: list[Any], count: int, when: str
) -> None:
    left = list(nexts)
    server.answer = lambda _: Said({"items": [0], **({"next": left.pop(0)} if left else {})})
    rule = {"when": when, "then": {"next_call": {}, "collect": {"path": "items"}}}

    result = await call(toolbox, server, [rule])

    assert (result.data["meta"]["iterations"], len(server.asked)) == (count, count)
    assert result.data["data"] == [0] * count


async def test_pages_without_an_end_are_as_many_as_the_rule_allows(
    toolbox: ToolRegistry, server: ToolServer
) -> None:
    server.answer = lambda _: Said({"items": [0], "next": "the-same"})
    rule = {
        "when": "{{ response.next }}",
        "then": {
            "max_attempts": 7,
            "next_call": {"params": {"cursor": "{{ response.next }}"}},
            "collect": {"path": "items"},
        },
    }

    result = await call(toolbox, server, [rule])

    assert result.data["meta"]["iterations"] == len(server.asked) == 7


async def test_another_host_gets_no_authentication(
    toolbox: ToolRegistry, server: ToolServer
) -> None:
    rule = pages(next_call={"url": "{{ response.elsewhere }}", "headers": {"X-N": "{{ size }}"}})

    await call(toolbox, server, [rule])

    sent = [(one.headers.get("authorization"), one.headers.get("x-n")) for one in server.asked]
    assert sent == [("Bearer t", None), (None, "3"), (None, "3")]


async def test_a_failing_page_is_tried_again(
    toolbox: ToolRegistry, server: ToolServer, api: Api
) -> None:
    api.failures = [Said(b"", 503), Said(b"", 500)]

    result = await call(toolbox, server, [tries(), pages()])

    assert result.data["data"] == ITEMS
    assert len(server.asked) == 5


async def test_what_was_gathered_before_a_failure_is_kept(
    toolbox: ToolRegistry, server: ToolServer
) -> None:
    answer = server.answer
    server.answer = lambda asked: answer(asked) if "page" not in asked.query else Said(b"", 404)

    result = await call(toolbox, server, [tries(), pages()])

    assert (result.status, result.error) == ("error", "HTTP 404 response")
    assert (result.data["status_code"], result.data["data"]) == (404, ITEMS[:3])
    assert result.failure is not None
    assert result.failure.kind == "not_found"


@pytest.mark.parametrize(
    ("retry", "outcome"),
    [
        (True, ("success", 3)),
        (3, ("success", 3)),
        (2, ("error", 2)),
        ([tries()], ("success", 3)),
        ([tries(max_attempts=2)], ("error", 2)),
        ([tries("{{ error.status == 429 }}")], ("error", 1)),
        ([tries("{{ error.type == 'server_error' and attempt < 3 }}")], ("success", 3)),
        ([{"then": {"initial_delay": 0}}], ("success", 3)),
        ([tries("{{ success and response.paging.page == 1 }}"), tries()], ("success", 3)),
        ([], ("error", 1)),
    ],
)
async def test_failures_are_tried_again(
    toolbox: ToolRegistry, server: ToolServer, api: Api, retry: Any, outcome: tuple[str, int]
) -> None:
    api.failures = [Said(b"", 500), Said(b"", 502)]

    result = await call(toolbox, server, retry)

    assert (result.status, len(server.asked)) == outcome
    assert set(result.data) == {"status_code", "headers", "body", "data"}


async def test_a_rule_may_wait_for_an_answer(
    toolbox: ToolRegistry, server: ToolServer, api: Api
) -> None:
    api.failures = [Said({"state": "pending"}), Said({"state": "pending"})]

    result = await call(toolbox, server, [tries("{{ response.state == 'pending' }}")])

    assert result.data["body"]["paging"]["page"] == 1
    assert len(server.asked) == 3


async def test_no_connection_is_tried_again_and_raises_in_the_end(
    toolbox: ToolRegistry, server: ToolServer
) -> None:
    rules = [tries("{{ error.type == 'connection' }}")]

    with pytest.raises(ToolError, match=r"^HTTP error: error sending request"):
        await call(toolbox, server, rules, url="http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("retry", "message"),
    [
        (["x"], "retry[0] is not a map"),
        ([{"then": {"next_call": {}}}], "retry[0] asks for pages without end: it has no `when`"),
        ([tries(max_attempts="many")], "retry[0].then.max_attempts is no number"),
        (
            [pages(collect={"strategy": "sum"})],
            "retry[0].then.collect.strategy is none of append, replace, merge",
        ),
    ],
)
async def test_wrong_rules_raise(
    toolbox: ToolRegistry, server: ToolServer, retry: Any, message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await call(toolbox, server, retry)

    assert f"Configuration error: Invalid http config: {message}" == str(raised.value)
    assert server.asked == []


async def test_a_task_of_a_pipeline_keeps_its_rules(
    toolbox: ToolRegistry, server: ToolServer
) -> None:
    task = {"kind": "http", "url": f"{server.url}/items", "retry": [pages()]}
    context = ToolContext(variables={}, execution_id=7, step="s", server_url="", toolbox=toolbox)

    result = await toolbox.run("task_sequence", {"tool_config": [{"a": task}]}, context)

    assert result.data["a"]["data"] == ITEMS


@pytest.mark.parametrize("retry", [[pages()], True, 3])
def test_only_the_http_tool_takes_rules(retry: Any) -> None:
    command = Command(7, 1, "c", "s", "", "http", {"tool_config": {"retry": retry}})

    assert _lift(command).config["retry"] == retry
    command.action = "python"
    with pytest.raises(_Malformed):
        _lift(command)

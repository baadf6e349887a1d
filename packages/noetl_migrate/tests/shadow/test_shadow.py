"""Two servers' answers are compared by their meaning."""

import asyncio
import gc
from collections.abc import Iterator

import httpx
import orjson
import pytest
from noetl.follow.servers import UnreachableError
from noetl_contract.json import Json
from noetl_migrate.shadow.asked import Asked, of_log
from noetl_migrate.shadow.comparing import differences
from noetl_migrate.shadow.running import Shadow, Shadowed, shadow
from noetl_testkit.legacy.server import LegacyServer
from noetl_testkit.web import Request, Response, WebServer, serving

HELLO = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: demo/hello}\nworkload: {n: 1}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"execution_id": 5}, {"execution_id": "5"}),
        ({"a": None}, {}),
        ({"at": "2026-06-15T12:00:00Z"}, {"at": "2026-06-15T14:00:00+02:00"}),
        ({"heartbeat": "2026-06-15T12:00:00Z"}, {"heartbeat": "2027-06-15T12:00:00Z"}),
        ([{"id": 1, "n": 1}, {"id": 2, "n": 2}], [{"id": "3"}, {"id": "2", "n": 2},
                                                  {"id": 1, "n": 1}]),
    ],
)  # fmt: skip
def test_what_means_the_same_is_no_difference(old: Json, new: Json) -> None:
    assert list(differences(old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 2}, (".a", "1 there, 2 here")),
        ({"a": 1}, {}, (".a", "missing here")),
        ({"a": True}, {"a": 1}, (".a", "True there, 1 here")),
        ({"a": [1, 2]}, {"a": [1]}, (".a", "2 elements there, 1 here")),
        ({"a": {}}, {"a": []}, (".a", "a dict there, a list here")),
        ([{"id": 1}], [{"id": 2}], ("[]", "id 1 is missing here")),
        ([{"id": 1, "n": {"x": 1}}], [{"id": 1, "n": {"x": 2}}], ("[].n.x", "1 there, 2 here")),
    ],
)
def test_what_means_something_else_is_told_with_its_place(
    old: Json, new: Json, told: tuple[str, str]
) -> None:
    assert list(differences(old, new)) == [told]


def test_a_log_gives_its_reads_and_no_secret_is_asked_for() -> None:
    lines = [
        '10.0.0.1 - - [15/Jun/2026] "GET /api/executions/77/status HTTP/1.1" 200 51 "-" "cli"',
        'POST /api/catalog/resource {"path": "demo/hello"}',
        "GET /noetl/catalog/demo/hello/ui_schema?version=2",
        "GET /api/credentials/pg?include_data=true",
        "GET /api/credentials/pg/sealed?worker_id=w",
        "POST /api/execute",
        "nothing at all",
    ]

    told = list(of_log(lines))

    asked = [one for one in told if isinstance(one, Asked)]
    assert [one.route for one in asked] == [
        "/api/executions/{id}/status",
        "/api/catalog/resource",
        "/api/catalog/{path}/ui_schema",
    ]
    assert asked[2].target == "/api/catalog/demo/hello/ui_schema?version=2"
    assert [one for one in told if isinstance(one, str)] == [
        "GET /api/credentials/pg",
        "GET /api/credentials/pg/sealed",
        "POST /api/execute",
    ]


@pytest.fixture
def pair() -> Iterator[tuple[WebServer, WebServer]]:
    """Start two servers with the same playbook, of which the second can be made to lie."""
    server = LegacyServer()
    body = orjson.dumps({"content": HELLO})
    server.answer(Request("POST", "/api/catalog/register", {}, body))
    started = server.answer(Request("POST", "/api/execute", {}, b'{"path": "demo/hello"}'))
    assert started.status == 200
    with serving(server.answer) as old, serving(server.answer) as new:
        yield old, new


async def compared(old: str, new: str, requests: list[Asked] | None = None) -> Shadowed:
    return await shadow(old, new, requests, old_token="", new_token="", examples=1, most=1000)


async def test_the_table_asks_for_all_that_is_there(pair: tuple[WebServer, WebServer]) -> None:
    old, new = pair
    found = await compared(old.url, new.url)

    assert found.is_same
    assert found.routes["POST /api/catalog/resource"].asked == 1
    assert found.routes["/api/executions/{id}/status"].asked == 1
    # What the existing server hasn't got is no difference, whatever is here.
    assert found.routes["/api/db/validate"].asked == 1


async def test_a_difference_is_told_by_route(pair: tuple[WebServer, WebServer]) -> None:
    old, new = pair
    honest = new.answer

    def lying(request: Request) -> Response:
        told = honest(request)
        if request.path.endswith("/status"):
            told = Response({**told.body, "status": "COMPLETED"})  # type: ignore[dict-item]
        if request.path == "/api/catalog/resource":
            told = Response({"error": "no", "status": 404}, 404)
        return told

    new.answer = lying
    found = await compared(old.url, new.url)

    assert not found.is_same
    status = found.routes["/api/executions/{id}/status"]
    assert (status.asked, status.differing, status.places) == (1, 1, {".status": 1})
    assert status.examples[0][2] == "'RUNNING' there, 'COMPLETED' here"
    assert found.routes["POST /api/catalog/resource"].places == {"status": 1}
    assert "  e.g. " in "\n".join(found.lines())


async def test_no_more_is_asked_than_said(pair: tuple[WebServer, WebServer]) -> None:
    old, new = pair
    many = [Asked("GET", "/api/executions", None, "/api/executions")] * 5
    found = await shadow(old.url, new.url, many, old_token="t", new_token="", examples=1, most=2)

    assert (len(old.requests), found.left_out) == (2, 3)
    assert old.requests[0].headers["authorization"] == "Bearer t"


async def test_a_server_that_is_away_is_told(pair: tuple[WebServer, WebServer]) -> None:
    old, _ = pair
    with serving(old.answer) as gone:
        url = gone.url
    with pytest.raises(UnreachableError, match="gives no answer"):
        await compared(old.url, url)


async def test_one_that_is_away_is_told_once() -> None:
    untold: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: untold.append(told))
    one = Asked("GET", "/api/executions", None, "/api/executions")

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(refuse), base_url="http://old"
    ) as client:
        comparison = Shadow(client, client, examples=1, most=50)
        with pytest.raises(UnreachableError, match="gives no answer: refused"):
            await comparison.ask_all([one] * 50)
    gc.collect()

    assert untold == []

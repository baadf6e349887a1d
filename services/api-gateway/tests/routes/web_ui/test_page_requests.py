"""Requests of pages: kept before the start, and their results delivered at least once (P5)."""

import base64
import math
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from noetl_api_gateway.app import create_app
from noetl_api_gateway.routes.web_ui import state_stream
from noetl_api_gateway.routes.web_ui.waiting import SHOWN_KEYS, drawable
from noetl_api_gateway.upstream.pages import requests
from noetl_contract.access.rights import Role
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import PAGES
from noetl_contract.subjects import event_subject
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from ...access.callers import INTERNAL, KEYS, bearer, command_login, guarded_world
from ...conftest import World, make_settings, make_world, serving
from .open_page import opened
from .test_graphql import RUN, ask

ASYNC = "/api/internal/callback/async"
PROGRESS = "/api/internal/progress"


async def started(world: World, client_id: str, headers: Any = None) -> dict[str, str]:
    """Start a playbook for a page, and return the answer."""
    told = await ask(world, RUN, headers, name="demo/hello", variables={"n": 1}, clientId=client_id)
    found: dict[str, str] = told["data"]["executePlaybook"]
    return found


async def post(world: World, path: str, headers: Any = None, **body: Any) -> tuple[int, Any]:
    sent = {"content-type": "application/json", **(headers or {})}
    answer = await world.client.post(path, content=orjson.dumps(body), headers=sent)
    return answer.status_code, answer.json()


def detail(number: str, **changes: Any) -> dict[str, Any]:
    """Return an execution as the projector answers it."""
    usual: dict[str, Any] = {
        "execution_id": number, "catalog_id": "11", "path": "demo/hello", "version": 3,
        "status": "COMPLETED", "started_at": "x", "completed_at": "x", "workload": {},
        "parent_execution_id": None, "events": [], "start_time": "x", "end_time": "x",
        "duration_seconds": 1.0, "duration_human": "1s", "progress": 100, "result": {"n": 2},
        "error": None, "soft_errors": 0, "events_included": False, "events_endpoint": "x",
        "pagination": {
            "page": 1, "page_size": 1, "total_events": 0, "total_pages": 0, "has_next": False,
            "has_prev": False,
        },
    }  # fmt: skip
    return usual | changes


def runs(world: World, status: str = "RUNNING") -> None:
    """Say how all executions stand."""
    world.backend.answer(
        "executions.states",
        lambda asked: {"states": {str(one): status for one in asked["execution_ids"]}},
    )


async def test_p5_a_page_gets_its_result_and_once_more_when_it_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_HEARD_SECONDS", PATIENCE_SECONDS)
    runs(world)
    async with opened(world) as page:
        run = await started(world, page.client_id)
        number, request_id = run["executionId"], run["requestId"]
        ids = {"request_id": request_id, "execution_id": number}
        sent = await post(world, PROGRESS, **ids, step="start", message="half", progress=0.5)
        progress = await page.next("playbook/progress")
        data = {"textOutput": "3 rows", "id": 2**60}
        done = await post(world, ASYNC, **ids, status="COMPLETED", data=data)
        state = await page.next("playbook/state", "playbook/result")
        result = await page.next("playbook/state", "playbook/result")
    async with opened(world, client_id=page.client_id) as again:
        repeated = await again.next("playbook/result")

    workload = world.backend.ingress[-1]["payload"]
    assert workload == {"n": 1, "request_id": request_id, "gateway_url": "http://localhost:8082"}
    assert world.backend.ingress[-1]["execution_id"] == int(number)
    assert (sent, done) == ((200, {"status": "sent"}), (200, {"status": "delivered"}))
    assert progress == {
        "requestId": request_id,
        "executionId": number,
        "step": "start",
        "message": "half",
        "progress": 0.5,
    }
    assert (state["execution_id"], state["event_type"]) == (number, "playbook.completed")
    assert result == {
        "requestId": request_id,
        "executionId": number,
        "status": "COMPLETED",
        # JavaScript would round it.
        "data": {"textOutput": "3 rows", "id": str(2**60)},
    }
    assert repeated == result
    assert "pendingRequests" not in again.hello


async def test_p5_what_is_posted_while_a_page_is_away_is_kept_for_it(world: World) -> None:
    runs(world)
    run = await started(world, "page-1")
    async with opened(world, client_id="page-1") as waiting:
        pending = waiting.hello["pendingRequests"]
    failed = {"code": -32001, "message": "too late", "data": None}
    away = await post(world, ASYNC, request_id=run["requestId"], status="FAILED", error=failed)
    later = await post(world, ASYNC, request_id=run["requestId"], data={"result": 1})
    async with opened(world, client_id="page-1") as back:
        result = await back.next("playbook/result")

    number = run["executionId"]
    assert pending == [
        {"requestId": run["requestId"], "executionId": number, "playbookPath": "demo/hello"}
    ]
    assert away == later == (202, {"status": "queued", "clientDisconnected": True})
    # The first result counts.
    assert result == {
        "requestId": run["requestId"],
        "executionId": number,
        "status": "FAILED",
        "error": failed,
    }


async def test_p5_a_request_is_there_before_its_execution(start_unanswered: World) -> None:
    """An edge that dies between the two leaves a request, not an execution without one."""
    world, found = start_unanswered, list[Any]()

    async def look(message: dict[str, Any], _delivery: Any) -> RpcReply | None:
        pages = world.shell.service.opened_gateway().pages
        found.append(await pages.find(message["payload"]["request_id"]))
        # No answer: as if the edge were gone.
        return None

    world.backend.on_ingress = look
    world.backend.answer(
        "executions.exists", {"exists": True, "status": "RUNNING", "commands_generated": 1}
    )
    runs(world)
    run = await started(world, "page-2")
    async with opened(world, client_id="page-2") as page:
        assert page.hello["pendingRequests"][0]["requestId"] == run["requestId"]
        runs(world, "COMPLETED")
        world.backend.answer("executions.get", detail(run["executionId"]))
        result = await page.next("playbook/result")

    assert {str(one.execution_id) for one in found} == {run["executionId"]}
    assert result["data"] == {"n": 2, "textOutput": '{"n":2}'}


async def test_p5_any_edge_serves_any_page(
    world: World, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_HEARD_SECONDS", PATIENCE_SECONDS)
    runs(world)
    shell = create_app(make_settings(nats_url))
    async with serving(shell) as client:
        other = World(client, world.backend, shell)
        await eventually(lambda: shell.service.gateway is not None, what="the edge is open")
        async with opened(other) as page:
            run = await started(world, page.client_id)
            body = {"request_id": run["requestId"], "data": {"result": 1}}
            done = await post(world, ASYNC, **body)
            result = await page.next("playbook/result")

    assert done == (200, {"status": "delivered"})
    data = {"result": 1, "textOutput": "1"}
    assert (result["executionId"], result["data"]) == (run["executionId"], data)


async def test_a_start_that_is_refused_leaves_nothing_to_wait_for(world: World) -> None:
    world.backend.answer("resolve", RpcReply(status=404, error="Playbook not found: demo/no"))
    told = await ask(world, RUN, name="demo/no", clientId="page-3")
    async with opened(world, client_id="page-3") as page:
        hello = page.hello

    assert told["errors"]
    assert "pendingRequests" not in hello


async def test_an_execution_that_posts_nothing_has_its_own_result(world: World) -> None:
    runs(world)
    async with opened(world) as page:
        run, other = [await started(world, page.client_id) for _ in range(2)]
        number = run["executionId"]
        world.backend.answer(
            "executions.get",
            detail(number, status="FAILED", result=None, error="step 'call' failed"),
        )
        ended = {"execution_id": number, "event_type": "playbook.failed"}
        subject = event_subject(int(number), shard=0)
        await world.backend.bus.send(subject, orjson.dumps(ended))
        failed = await page.next("playbook/result")
        # The news of the second end are lost.
        number = other["executionId"]
        world.backend.answer("executions.get", detail(number, result={"summary": "ok"}))
        runs(world, "COMPLETED")
        while (completed := await page.next("playbook/result"))["requestId"] == run["requestId"]:
            pass  # the first once more, for a page that didn't know it yet

    assert failed == {
        "requestId": run["requestId"],
        "executionId": run["executionId"],
        "status": "FAILED",
        "error": {"code": -32000, "message": "step 'call' failed", "data": None},
    }
    assert completed["requestId"] == other["requestId"]
    assert (completed["status"], completed["data"]) == ("COMPLETED", {"summary": "ok"})


async def test_callbacks_of_nobody_s_requests_are_refused(world: World) -> None:
    unknown = [await post(world, ASYNC, request_id=one) for one in ("nothing", "*", ">", "a.b")]
    progress = await post(world, PROGRESS, request_id="nothing")
    nameless = await post(world, ASYNC, status="COMPLETED")
    login = await post(world, "/api/internal/callback", request_id="x", status="success")

    assert {status for status, _ in unknown} == {404}
    assert unknown[0][1]["detail"] == "Request not found"
    assert progress[0] == 404
    assert (nameless[0], "`request_id`" in nameless[1]["detail"]) == (422, True)
    assert login == (
        200,
        {
            "delivered": False,
            "message": "No login waits here: this server logs nobody in",
        },
    )


async def test_callbacks_need_the_token_where_one_is_set(nats_url: str) -> None:
    async with make_world(nats_url, internal_api_token=INTERNAL, command_key="k") as world:
        runs(world)
        run = await started(world, "page-4")
        body = {"request_id": run["requestId"]}
        bare = await post(world, PROGRESS, **body)
        token = await post(world, PROGRESS, bearer(INTERNAL), **body)
        own = await post(world, PROGRESS, basic(int(run["executionId"]), "k"), **body)
        foreign = await post(world, PROGRESS, basic(5, "k"), **body)
        forged = await post(world, PROGRESS, basic(int(run["executionId"]), "x"), **body)

    statuses = [one[0] for one in (bare, token, own, foreign, forged)]
    assert statuses == [403, 200, 200, 403, 403]


def basic(execution_id: int, key: str) -> dict[str, str]:
    login = ":".join(command_login(execution_id, 9, key))
    return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


async def test_a_result_is_for_who_has_asked(nats_url: str) -> None:
    mine, other = KEYS[Role.OPERATOR], KEYS[Role.AUTHOR]
    async with guarded_world(nats_url) as world:
        runs(world)
        run = await started(world, "page-5", bearer(mine))
        number = int(run["executionId"])
        body = {"request_id": run["requestId"], "data": {"result": "secret"}}
        refused = [
            await post(world, ASYNC, headers, **body)
            for headers in ({}, bearer(mine), basic(5, "command-key-of-this-test"))
        ]
        async with opened(world, login=other, client_id="page-5") as stranger:
            hello = stranger.hello
            own = basic(number, "command-key-of-this-test")
            taken = await post(world, ASYNC, own, **body)
            heard = await stranger.next("ping")
        async with opened(world, login=mine, client_id="page-5") as page:
            result = await page.next("playbook/result")
        token = await post(world, PROGRESS, bearer(INTERNAL), request_id=run["requestId"])

    assert [status for status, _ in refused] == [401, 403, 403]
    assert "pendingRequests" not in hello
    assert (taken[0], heard) == (202, {})
    assert result["data"] == {"result": "secret"}
    assert token == (200, {"status": "sent"})


def login_in(address: str) -> dict[str, str]:
    """Return the headers that an HTTP client sends to an address with user information."""
    said = urlsplit(address)
    login = base64.b64encode(f"{said.username}:{said.password}".encode()).decode()
    return {"authorization": f"Basic {login}"}


async def test_a_playbook_posts_with_nothing_but_the_gateway_url(nats_url: str) -> None:
    mine = bearer(KEYS[Role.OPERATOR])
    async with guarded_world(nats_url) as world:
        runs(world)
        first, other = [await started(world, "page-8", mine) for _ in range(2)]
        workload = world.backend.ingress[-2]["payload"]
        own = login_in(workload["gateway_url"])
        taken = await post(world, ASYNC, own, request_id=first["requestId"], data={"result": "x"})
        foreign = await post(world, ASYNC, own, request_id=other["requestId"], data=1)
        forged = login_in(workload["gateway_url"].replace(first["requestId"], other["requestId"]))
        wrong = await post(world, ASYNC, forged, request_id=other["requestId"], data=1)
        number = int(first["executionId"])
        container = await post(
            world, f"/api/internal/container-callback/{number}/start", own, state="succeeded"
        )
        places = (f"/api/executions/{number}", "/api/credentials/pg", "/api/internal/access-audit")
        others = [(await world.client.get(place, headers=own)).status_code for place in places]

    assert workload["gateway_url"].endswith("@localhost:8082")
    assert urlsplit(workload["gateway_url"]).password == workload["callback_token"]
    assert taken[0] == 202
    assert (foreign[0], wrong[0], container[0]) == (403, 401, 404)
    assert others == [403, 403, 403]


async def test_the_gateway_url_is_plain_where_nothing_is_asked_for(nats_url: str) -> None:
    async with make_world(nats_url, command_key="k") as world:
        runs(world)
        run = await started(world, "page-10")
        workload = world.backend.ingress[-1]["payload"]
        taken = await post(world, PROGRESS, request_id=run["requestId"])

    assert workload["gateway_url"] == "http://localhost:8082"
    assert "callback_token" not in workload
    assert taken[0] == 200


async def test_the_gateway_url_is_enough_where_the_token_is_asked_for(nats_url: str) -> None:
    async with make_world(nats_url, internal_api_token=INTERNAL, command_key="k") as world:
        runs(world)
        first, other = [await started(world, "page-9") for _ in range(2)]
        own = login_in(world.backend.ingress[-2]["payload"]["gateway_url"])
        taken = await post(world, PROGRESS, own, request_id=first["requestId"])
        foreign = await post(world, PROGRESS, own, request_id=other["requestId"])
        internal = await world.client.get("/api/internal/outbox/pending-count", headers=own)

    assert (taken[0], foreign[0], internal.status_code) == (200, 403, 403)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"text": "3 tables", "render": {"kind": "table"}}, "3 tables"),
        ({"result": {"status": "complete"}}, '{"status":"complete"}'),
        ({"summary": {"text": "all well"}}, "all well"),
        ({"textOutput": {"a": 1}, "result": "b"}, '{"a":1}'),
        ({"textOutput": "", "text_output": None, "summary": ["a", {"b": 1}]}, '["a",{"b":1}]'),
        ({"users": [{"name": "Ada"}]}, '{"users":[{"name":"Ada"}]}'),
        ({}, "{}"),
        ([{"a": 1}], '[{"a":1}]'),
        (7, "7"),
        ({"result": True}, "true"),
        ({"text": ""}, '{"text":""}'),
    ],
)
def test_a_page_draws_a_text(result: Json, shown: str) -> None:
    data = drawable(result)

    drawn = next(data[key] for key in SHOWN_KEYS if data.get(key))
    assert drawn == data["textOutput"] == shown
    rest = result if isinstance(result, dict) else {"result": result}
    assert {**data, "textOutput": 0} == {**rest, "textOutput": 0}


@pytest.mark.parametrize("result", [{"textOutput": "a", "result": {"b": 1}}, {"summary": "a"}])
def test_a_result_with_a_text_stays_as_it_is(result: JsonObject) -> None:
    assert drawable(result) == result


@pytest.mark.parametrize(("result", "drawn"), [("word", "word"), (None, None), ("", ""), (0, 0)])
def test_what_is_no_object_is_the_result(result: Json, drawn: Json) -> None:
    assert drawable(result) == {"result": drawn}


def test_a_text_made_for_a_page_has_an_end() -> None:
    made = drawable({"rows": ["x" * 1000] * 1000})["textOutput"]

    assert isinstance(made, str)
    assert len(made) == 100_001
    assert made.endswith("…")


async def test_a_result_comes_again_for_a_page_that_does_not_know_its_request_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page notes its request when it has read the answer to its start, and drops others."""
    monkeypatch.setattr(state_stream, "_AGAIN_SECONDS", (0.01, 0.02, 0.03))
    runs(world)
    async with opened(world) as page:
        run = await started(world, page.client_id)
        await post(world, ASYNC, request_id=run["requestId"], data={"users": [{"id": 2**60}]})
        told = [await page.next("playbook/result") for _ in range(4)]
        # They end: what comes next is of another request.
        other = await started(world, page.client_id)
        await post(world, ASYNC, request_id=other["requestId"], data=1)
        last = await page.next("playbook/result")

    assert told == [told[0]] * 4
    assert told[0]["data"] == {
        "users": [{"id": str(2**60)}],
        "textOutput": f'{{"users":[{{"id":"{2**60}"}}]}}',
    }
    assert last["requestId"] == other["requestId"]


def test_what_is_told_again_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_stream, "_MOST_AGAIN_BYTES", 5)
    again = state_stream.Repeats()
    assert again.at == math.inf
    for chunk in (b"aa", b"bb", b"cc"):
        again.put(chunk, 0.0)

    assert list(again.due(0.5)) == [b"aa"]  # too early, as there is no room
    assert again.at == 1.0
    assert list(again.due(1.0)) == [b"bb", b"cc"]
    assert list(again.due(5.0)) == [b"bb", b"cc"]
    assert list(again.due(20.0)) == [b"bb", b"cc"]
    assert list(again.due(99.0)) == []
    assert again.at == math.inf


async def test_one_page_may_have_so_many_requests(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr("noetl_api_gateway.upstream.pages.requests.MOST_KEPT", 2)
    first = [await started(world, "page-6") for _ in range(2)]
    told = await ask(world, RUN, name="demo/hello", clientId="page-6")
    other = await started(world, "page-7")

    assert len({one["requestId"] for one in first}) == 2
    assert told["errors"][0]["extensions"] == {"status": 429}
    assert "requests and results of this page are kept" in told["errors"][0]["message"]
    assert other["requestId"]


async def test_kept_requests_end_by_their_age_and_size() -> None:
    assert PAGES.discard == "new"
    assert PAGES.max_bytes is not None
    assert PAGES.max_age is not None


async def test_a_page_that_leaves_is_not_spoken_to(world: World) -> None:
    async with opened(world) as page:
        pass
    places = world.shell.service.opened_gateway().places
    await eventually(lambda: not places.taken, what="left")
    run = await started(world, page.client_id)

    queued = await post(world, ASYNC, request_id=run["requestId"], data=1)

    assert queued[0] == 202

"""Requests of pages: kept before the start, and their results delivered at least once (P5)."""

import base64
from typing import Any

import orjson
from noetl_api_gateway.app import create_app
from noetl_contract.access.rights import Role
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import PAGES
from noetl_contract.subjects import event_subject
from noetl_testkit.waiting import eventually

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
    """Return an execution as the projector tells it."""
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


async def test_p5_a_page_gets_its_result_and_once_more_when_it_comes_back(world: World) -> None:
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


async def test_p5_a_request_is_there_before_its_execution(world: World) -> None:
    """An edge that dies between the two leaves a request, not an execution without one."""
    found: list[Any] = []

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
    assert result["data"] == {"result": {"n": 2}}


async def test_p5_any_edge_serves_any_page(world: World, nats_url: str) -> None:
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
    assert (result["executionId"], result["data"]) == (run["executionId"], {"result": 1})


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
        completed = await page.next("playbook/result")

    assert failed == {
        "requestId": run["requestId"],
        "executionId": run["executionId"],
        "status": "FAILED",
        "error": {"code": -32000, "message": "step 'call' failed", "data": None},
    }
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

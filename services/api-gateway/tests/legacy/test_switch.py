"""Requests go to the server that has to answer them, and to one of them only."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson
import pytest
from noetl.stack.process import free_port
from noetl_contract.rpc import RpcReply
from noetl_migrate.front.proxy import REQUESTS
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_testkit.web import Request, Response, WebServer, serving

from ..conftest import EXECUTION_ID, World, make_world

THEIRS = 900_000_000_000_000_001
OTHER_PARENT = 900_000_000_000_000_009


def answer(request: Request) -> Response:
    """Answer as the existing server, with the request in the body."""
    if request.path == f"/api/executions/{OTHER_PARENT}/status":
        return Response({"error": f"Execution not found: {OTHER_PARENT}", "status": 404}, 404)
    body: dict[str, str | int] = {
        "by": "legacy",
        "target": request.target,
        "got": len(request.body),
    }
    return Response(body, 201, {"X-Theirs": "1", "Keep-Alive": "timeout=5"})


@contextmanager
def legacy() -> Iterator[WebServer]:
    with serving(answer) as web:
        yield web


@asynccontextmanager
async def beside(
    nats_url: str, url: str, routes: str, *, answer_seconds: float = 30.0, **changes: object
) -> AsyncIterator[World]:
    """Run an edge with the address of an existing server, set in the process's environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NOETL_LEGACY_ROUTES", routes)
        environment.setenv("NOETL_LEGACY_ANSWER_SECONDS", str(answer_seconds))
        async with make_world(nats_url, legacy_url=url, **changes) as world:
            yield world


@asynccontextmanager
async def both(
    nats_url: str, routes: str = "", **changes: Any
) -> AsyncIterator[tuple[World, WebServer]]:
    """An edge with an existing server beside it; one execution is known here."""
    with legacy() as web:
        async with beside(nats_url, web.url, routes, **changes) as world:
            known = {"status": "RUNNING", "commands_generated": 1, "path": "demo/hello"}
            world.backend.answer(
                "executions.exists",
                lambda asked: {**known, "exists": asked["execution_id"] == EXECUTION_ID},
            )
            world.backend.answer("subscription.get", RpcReply(status=404, error="not registered"))
            world.backend.answer("command.get", RpcReply(status=404, error="not found"))
            world.backend.answer("executions.status", {"execution_id": EXECUTION_ID, "status": "X"})
            yield world, web


def is_theirs(answer: httpx.Response) -> bool:
    return answer.headers.get("noetl-answered-by") == "legacy"


async def test_w22_routes_and_executions_find_their_server(nats_url: str) -> None:
    async with both(nats_url, "/api/catalog/*, POST /api/execute") as (world, web):
        listed = await world.post("/api/catalog/list", {}, authorization="Bearer t", x_a="b")
        assert is_theirs(listed)
        assert (listed.status_code, listed.headers["x-theirs"]) == (201, "1")
        assert "keep-alive" not in listed.headers
        sent = web.requests[-1]
        assert (sent.headers["authorization"], sent.headers["x-a"]) == ("Bearer t", "b")
        assert sent.headers["x-forwarded-for"] == "127.0.0.1"
        assert sent.headers["host"] in web.url
        assert sent.body == b"{}"

        started = await world.post("/api/execute", {"path": "demo/hello"})
        assert is_theirs(started)
        assert not world.backend.ingress
        # A child begins where its parent is.
        child = {"path": "demo/hello", "parent_execution_id": str(EXECUTION_ID)}
        assert not is_theirs(await world.post("/api/execute", child))
        assert len(world.backend.ingress) == 1

        before = len(web.requests)
        assert not is_theirs(await world.get(f"/api/executions/{EXECUTION_ID}/status"))
        assert len(web.requests) == before
        odd = await world.get(f"/noetl/executions/{THEIRS}/events?page=1&x=%2Fa")
        assert odd.json()["target"] == f"/api/executions/{THEIRS}/events?page=1&x=%2Fa"
        assert is_theirs(await world.post(f"/api/executions/{THEIRS}/cancel", {}))
        assert is_theirs(await world.get(f"/api/replay/state?execution_id={THEIRS}"))


async def test_workers_reach_the_server_of_their_command(nats_url: str) -> None:
    async with both(nats_url) as (world, web):
        event = {"execution_id": THEIRS, "step": "s", "event_type": "command.completed"}
        assert is_theirs(await world.post("/api/events", event))
        assert orjson.loads(web.requests[-1].body) == event
        assert is_theirs(await world.post("/api/commands/77/claim", {"worker_id": "w"}))
        ours = await world.post("/api/events", {**event, "execution_id": str(EXECUTION_ID)})
        assert not is_theirs(ours)
        assert ours.json()["status"] == "ok"
        # A command of ours names itself.
        world.backend.answer("claim", {"status": "ok", "event_id": 77, "execution_id": 5})
        login = base64.b64encode(f"{EXECUTION_ID}.77:1.secret".encode()).decode()
        claim = {"worker_id": "w"}
        own = await world.post("/api/commands/77/claim", claim, authorization=f"Basic {login}")
        assert not is_theirs(own)
        assert not is_theirs(await world.post("/api/execute", {"path": "demo/hello"}))
        assert len(web.requests) == 2


async def test_a_child_of_theirs_begins_there(nats_url: str) -> None:
    async with both(nats_url) as (world, web):
        child = {"path": "demo/hello", "parent_execution_id": THEIRS}
        web.answer = lambda request: (
            Response({"status": "RUNNING"}) if request.method == "GET" else answer(request)
        )
        assert is_theirs(await world.post("/api/execute", child))
        # An unknown parent decides nothing.
        web.answer = answer
        lost = {**child, "parent_execution_id": OTHER_PARENT}
        assert not is_theirs(await world.post("/api/execute", lost))


async def test_what_was_passed_on_once_goes_no_further(nats_url: str) -> None:
    async with both(nats_url, "*") as (world, web):
        world.backend.answer("executions.list", [])
        again = await world.get("/api/executions", noetl_legacy_hop="1")
        assert not is_theirs(again)
        assert not web.requests


async def test_w22_nobody_but_the_existing_server_answers_for_it(nats_url: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with beside(nats_url, url, "*") as world:
        refused = await world.post("/api/execute", {"path": "demo/hello"})
        text = f"The legacy server {url} can't be reached"
        assert refused.json() == {"error": text, "status": 502, "detail": text}
        assert refused.status_code == 502
        assert not world.backend.ingress


async def test_silence_is_told(nats_url: str) -> None:
    async with both(nats_url, "*", answer_seconds=0.2) as (world, web):
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def late(_request: Request) -> Response:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(PATIENCE_SECONDS)
            return Response({})

        web.answer = late
        silent = await world.post("/api/events", {"execution_id": THEIRS})
        await eventually(lambda: web.count("/api/events"), what="the existing server has it")
        release.set()
        assert silent.status_code == 504
        assert silent.json()["error"] == f"The legacy server {web.url} did not answer in time"
        # It was sent once: it may have been taken.
        assert web.count("/api/events") == 1


async def test_a_broken_answer_is_told(nats_url: str) -> None:
    async with both(nats_url, "*") as (world, web):

        def broken(_request: Request) -> Response:
            return Response(b"half", headers={"Content-Length": "100", "Connection": "close"})

        web.answer = broken
        with pytest.raises(httpx.RemoteProtocolError):
            await world.get("/api/executions")


async def test_an_answer_is_passed_on_as_it_comes(nats_url: str) -> None:
    async with both(nats_url, "*") as (world, web):
        more = asyncio.Event()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def pieces() -> Iterator[bytes]:
            try:
                yield b"data: 1\n\n"
                asyncio.run_coroutine_threadsafe(more.wait(), loop).result(PATIENCE_SECONDS)
                while True:
                    yield b"x" * 65536
            finally:
                loop.call_soon_threadsafe(ended.set)

        web.answer = lambda _request: Response(pieces(), headers={"Content-Type": "text/plain"})
        async with world.client.stream("GET", f"/api/executions/{THEIRS}/events/stream") as got:
            first = await anext(got.aiter_raw())
            assert first == b"data: 1\n\n"
        # The client has left, and so does the edge.
        more.set()
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)


async def test_a_large_body_is_streamed_up_to_the_limit(nats_url: str) -> None:
    async with both(nats_url, "*", max_body_bytes=4096) as (world, _):
        sent = await world.client.put(f"/api/result/{THEIRS}", content=b"x" * (1 << 20))
        assert sent.json()["got"] == 1 << 20
        # What has to be looked into is as large as it may be here.
        large = {"execution_id": THEIRS, "x": "y" * 9000}
        assert (await world.post("/api/events", large)).status_code == 413


async def test_rights_are_asked_for_first(nats_url: str) -> None:
    async with both(nats_url, "*", auth="on") as (world, web):
        assert (await world.get("/api/executions")).status_code == 401
        assert (await world.get(f"/api/executions/{THEIRS}")).status_code == 401
        assert (await world.get("/api/no/such/route")).status_code == 401
        assert not web.requests


async def test_what_was_passed_on_is_counted(nats_url: str) -> None:
    counted = REQUESTS.labels("execution", "answered")
    before = counted._value.get()
    async with both(nats_url) as (world, _):
        await world.get(f"/api/executions/{THEIRS}")
        await eventually(lambda: counted._value.get() == before + 1)


async def test_without_an_existing_server_nothing_stands_before_the_routes(world: World) -> None:
    assert type(world.shell._app).__name__ == "DirectRoutes"

"""Both clients over real HTTP: their requests, retries, answers and errors."""

import json
import threading
from collections.abc import Iterator
from inspect import signature
from typing import Any

import pytest
from noetl_client import (
    AsyncClient,
    BadAddress,
    Busy,
    Client,
    Connection,
    ExecutionFailed,
    Forbidden,
    Invalid,
    LoginNeeded,
    NotFound,
    Refused,
    Retries,
    UnexpectedAnswer,
    Unreachable,
    WaitTimedOut,
)
from noetl_testkit import web
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.web import Request, Response, WebServer

STARTED = {"execution_id": "7", "status": "started", "commands_generated": 1}
QUICK = Retries(attempts=3, first_pause=0.001, longest_pause=0.5)


def standing(status: str) -> dict[str, Any]:
    progress = {"total_steps": 1, "completed_steps": 0, "running_steps": 1, "failed_steps": 0}
    return {
        "execution_id": 7,
        "status": status,
        "current_step": "a",
        "progress": progress,
        "is_cancelled": False,
        "completed": status == "COMPLETED",
        "failed": status == "FAILED",
        "completed_steps": [],
        "start_time": "2026-06-15T12:00:00Z",
        "end_time": None,
        "duration_seconds": 1.0,
        "duration_human": "1s",
        "soft_errors": 0,
    }


def detail(status: str, **fields: Any) -> dict[str, Any]:
    page = {"page": 1, "page_size": 1, "total_events": 0, "total_pages": 0}
    return {
        "execution_id": 7,
        "catalog_id": 5,
        "path": "demo/a",
        "version": 1,
        "status": status,
        "started_at": "2026-06-15T12:00:00Z",
        "completed_at": None,
        "parent_execution_id": None,
        "workload": {},
        "events": [],
        "start_time": "2026-06-15T12:00:00Z",
        "end_time": None,
        "duration_seconds": 1.0,
        "duration_human": "1s",
        "progress": 100,
        "result": None,
        "error": None,
        "soft_errors": 0,
        "events_included": False,
        "events_endpoint": "/x",
        "pagination": {**page, "has_next": False, "has_prev": False},
        **fields,
    }


class Script:
    """Answers in their order; the last one again and again."""

    def __init__(self, *answers: Response | dict[str, Any]) -> None:
        self._answers = list(answers)

    def __call__(self, _request: Request) -> Response:
        one = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return one if isinstance(one, Response) else Response(one)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web.serving(Script(STARTED)) as served:
        yield served


def client_of(server: WebServer, **changes: Any) -> Client:
    return Client(Connection(server.url, "nk_1", **{"retries": QUICK, **changes}))


def test_a_start_is_repeated_under_one_key_and_shows_the_api_key(server: WebServer) -> None:
    server.answer = Script(Response({"error": "busy"}, 503), STARTED)

    with client_of(server) as client:
        answer = client.start("demo/a", {"n": 2**70}, version=3, timeout="5m")

    first, second = server.requests
    assert answer.execution_id == "7"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["authorization"] == "Bearer nk_1"
    # The contract's models read a duration as seconds.
    assert first.json == {
        "path": "demo/a", "workload": {"n": 2**70}, "version": 3, "timeout": 300.0
    }  # fmt: skip


def test_what_may_have_been_done_is_not_done_again(server: WebServer) -> None:
    server.answer = Script(Response({"error": "broker away"}, 503, {"Retry-After": "2"}), {})

    with client_of(server) as client, pytest.raises(Busy, match="broker away") as caught:
        client.cancel(7)

    assert (len(server.requests), caught.value.retry_after) == (1, 2.0)


def test_what_was_put_off_is_sent_again_unless_that_is_too_far_off(server: WebServer) -> None:
    cancelled = {"execution_id": 7, "message": "", "status": "cancelled"}
    late = Response({"error": "too many"}, 429, {"Retry-After": "0.01"})
    server.answer = Script(late, cancelled)
    with client_of(server) as client:
        assert client.cancel(7).status == "cancelled"

        server.answer = Script(Response({"error": "too many"}, 429, {"Retry-After": "60"}))
        with pytest.raises(Busy):
            client.cancel(7)

    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (Response({"error": "who?"}, 401), LoginNeeded, "who?"),
        (Response({"error": "lacks executions.read"}, 403), Forbidden, "lacks executions.read"),
        (Response({"error": "no", "hint": "look"}, 404), NotFound, r"no \(look\)"),
        (Response({"detail": "wrong"}, 422), Invalid, "wrong"),
        (Response(b"<html>", 500), Refused, "status 500 <html>"),
        (Response({"hello": "there"}), UnexpectedAnswer, "doesn't answer as a NoETL server"),
        (Response(b"", 302, {"Location": "https://login"}), UnexpectedAnswer, "https://login"),
    ],
)
def test_errors_say_what_the_server_said(
    server: WebServer, answer: Response, kind: type[Exception], told: str
) -> None:
    server.answer = Script(answer)

    with client_of(server) as client, pytest.raises(kind, match=told):
        client.status(7)

    assert len(server.requests) == 1


def test_a_silent_server_is_given_up(server: WebServer) -> None:
    given_up = threading.Event()

    def silent(_request: Request) -> Response:
        given_up.wait(PATIENCE_SECONDS)
        return Response(STARTED)

    server.answer = silent
    with client_of(server, timeout=0.05) as client, pytest.raises(Unreachable) as caught:
        client.cancel(7)
    # The client may have given up before the server has read what it was sent.
    wait_until(lambda: server.requests)
    given_up.set()

    assert (caught.value.was_heard, len(server.requests)) == (True, 1)


def test_a_server_that_is_not_there_was_not_heard() -> None:
    with (
        Client(Connection("http://127.0.0.1:1", retries=QUICK)) as client,
        pytest.raises(Unreachable, match=r"no answer from http://127\.0\.0\.1:1") as caught,
    ):
        client.cancel(7)

    assert not caught.value.was_heard


@pytest.mark.parametrize("url", ["", "localhost:8082", "ftp://h", "http://h:p", "http://"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(BadAddress):
        Client(url)


def test_certificates_that_are_not_there_are_told() -> None:
    with pytest.raises(BadAddress, match="certificates"):
        Client(Connection("https://h", ca="/nowhere/ca.pem"))


def test_the_environment_names_server_and_key() -> None:
    told = {"NOETL_SERVER_URL": "https://h", "NOETL_SESSION_TOKEN": " nk_2 ", "NOETL_TLS_CA": "ca"}

    found = Connection.from_environment(told)

    assert (found.url, found.key, found.ca) == ("https://h", "nk_2", "ca")
    assert "nk_2" not in repr(found)
    assert Connection.from_environment({}).url == "http://localhost:8082"


def test_a_proxy_is_asked_for_servers_elsewhere_only(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client("http://noetl.invalid") as elsewhere, client_of(server) as here:
        elsewhere.start("demo/a")
        here.start("demo/a")

    assert [one.target for one in server.requests] == [
        "http://noetl.invalid/api/execute",
        "/api/execute",
    ]


def test_a_wait_ends_with_the_execution_or_its_time(server: WebServer) -> None:
    server.answer = Script(standing("RUNNING"), standing("FAILED"))
    with client_of(server) as client:
        assert client.wait(7, seconds=30).failed

        server.answer = Script(standing("RUNNING"))
        with pytest.raises(WaitTimedOut, match=r"execution 7 is RUNNING after 0\.01 s"):
            client.wait(7, seconds=0.01)


def test_a_result_has_large_parts_in_the_places_of_their_references(server: WebServer) -> None:
    ref = "noetl://execution/7/result/a/9"
    stored = {"status": "success", "data": {"rows": [1]}}
    server.answer = Script(
        detail("COMPLETED", result={"big": {"_ref": ref, "n": 1}, "small": 2}), stored
    )
    with client_of(server) as client:
        assert client.result(7) == {"big": {"rows": [1]}, "small": 2}
        assert server.requests[-1].query == {"ref": ref}

        server.answer = Script(detail("FAILED", error="step 'a' failed: no"))
        with pytest.raises(ExecutionFailed, match="execution 7 is FAILED: step 'a' failed: no"):
            client.result(7)


def lines(*numbers: int, end: bool = False) -> bytes:
    parts = [b"retry: 3000\n\n: keep-alive\n\n"]
    for number in numbers:
        told = {
            "event_id": number,
            "execution_id": 7,
            "event_type": "step.exit",
            "node_name": "a",
            "status": "x",
            "created_at": "2026-06-15T12:00:00Z",
        }
        parts.append(b"id: %d\nevent: event\ndata: %s\n\n" % (number, json.dumps(told).encode()))
    parts.append(b"event: news\ndata: {}\n\n")
    if end:
        parts.append(b'event: end\ndata: {"status": "COMPLETED"}\n\n')
    return b"".join(parts)


STREAM = {"Content-Type": "text/event-stream"}


def broken_stream() -> Script:
    return Script(
        Response(lines(1, 2), headers=STREAM),
        Response({"error": "too many streams"}, 503),
        Response(lines(3, end=True), headers=STREAM),
    )


def test_a_stream_goes_on_behind_the_last_event(server: WebServer) -> None:
    server.answer = broken_stream()
    with client_of(server) as client:
        found = [one.event_id for one in client.stream(7, types=["step.exit"])]

    assert found == [1, 2, 3]
    assert [one.headers.get("last-event-id") for one in server.requests] == [None, "2", "2"]
    assert server.requests[0].query_lists == {"event_type": ["step.exit"]}


PRINTED = (
    b'event: output\ndata: {"execution_id":"7","event_id":"70","command_id":"c","step":"load",'
    b'"attempts":0,"dropped":2,"lines":[{"number":3,"stream":"stderr","time":"t","text":"oops"}]}'
    b"\n\nevent: event\ndata: {}\n\nevent: end\ndata: {}\n\n"
)


async def test_printed_lines_are_a_stream_of_their_own(server: WebServer) -> None:
    server.answer = Script(Response(PRINTED, headers=STREAM))
    with client_of(server) as client:
        (found,) = client.output(7)
    async with AsyncClient(Connection(server.url, retries=QUICK)) as other:
        assert [one async for one in other.output(7)] == [found]

    assert (found.event_id, found.step, found.dropped, found.lines[0].text) == (
        70, "load", 2, "oops",
    )  # fmt: skip
    assert server.requests[0].query_lists == {"output": ["only"]}


async def test_the_other_client_does_the_same(server: WebServer) -> None:
    server.answer = broken_stream()
    async with AsyncClient(Connection(server.url, retries=QUICK)) as client:
        assert [one.event_id async for one in client.stream(7)] == [1, 2, 3]

        server.answer = Script(
            Response({"error": "busy"}, 503),
            STARTED,
            standing("COMPLETED"),
            detail("COMPLETED", result=5),
        )
        assert await client.run("demo/a", seconds=5) == 5

        server.answer = Script(standing("RUNNING"))
        with pytest.raises(WaitTimedOut):
            await client.wait(7, seconds=0)


def test_a_stream_that_stays_away_is_given_up(server: WebServer) -> None:
    server.answer = Script(Response({"error": "away"}, 503))
    with client_of(server, patience=0) as client, pytest.raises(Busy):
        list(client.stream(7))


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {one for one in dir(kind) if not one.startswith("_")}

    assert names(Client) - {"close"} == names(AsyncClient) - {"aclose"}


def test_methods_show_the_parameters_of_what_they_do(server: WebServer) -> None:
    with client_of(server) as client:
        shown = {name: [*signature(getattr(client, name)).parameters] for name in ("run", "status")}
        read = signature(client.catalog.get).parameters

    assert shown == {
        "run": ["path", "workload", "seconds", "version"],
        "status": ["execution_id"],
    }
    assert next(iter(read)) == "path"


def test_a_call_without_a_method_is_made_all_the_same(server: WebServer) -> None:
    server.answer = Script({"status": "ok"})
    with client_of(server) as client:
        assert client.ask("GET", "/api/health", query={"a": "b"}) == {"status": "ok"}

    assert server.requests[0].target == "/api/health?a=b"

"""Error bodies, row by row, and nonsense that must never become a 500."""

from typing import Any

import pytest
from noetl_common.errors import Invalid, NotMinting
from noetl_contract.rpc import RpcReply

from ..conftest import EXECUTION_ID, World, make_world

NOT_JSON = "Expected request with `Content-Type: application/json`"
SYNTAX = "Failed to parse the request body as JSON: "
SHAPE = "Failed to deserialize the JSON body into the target type: "
QUERY = "Failed to deserialize query string: "
EVENT = {"execution_id": 1, "step": "s", "event_type": "t"}

# path, body, status, text
BODIES: list[tuple[str, Any, int, str]] = [
    ("/api/catalog/register", b"", 400, SYNTAX + "EOF while parsing a value at line 1 column 0"),
    ("/api/catalog/register", b"{", 400, SYNTAX),
    ("/api/catalog/register", b"{} x", 400, SYNTAX),
    ("/api/catalog/register", b'{"content": NaN}', 400, SYNTAX),
    ("/api/catalog/register", b'{"content": "\\ud800"}', 400, SYNTAX),
    ("/api/catalog/register", b'"\xff"', 400, SYNTAX),
    ("/api/catalog/register", b"[" * 200 + b"]" * 200, 400, SYNTAX + "recursion limit exceeded"),
    ("/api/catalog/register", {}, 422, SHAPE + "missing field `content`"),
    ("/api/catalog/register", [], 422, SHAPE + "invalid type: sequence, expected struct"),
    ("/api/catalog/register", {"content": 2}, 422, SHAPE + "content: invalid type: integer `2`"),
    (
        "/api/catalog/register",
        {"content": "", "resource_type": None},
        422,
        SHAPE + "resource_type: invalid type: null, expected a string",
    ),
    ("/api/catalog/register", b'{"content":"","content":""}', 422, SHAPE + "duplicate field"),
    ("/api/catalog/list", b"", 400, SYNTAX),
    ("/api/catalog/list", {"resource_type": True}, 422, SHAPE + "resource_type: invalid type: boo"),
    ("/api/catalog/resource", {"path": 1.5}, 422, SHAPE + "path: invalid type: floating point"),
    ("/api/catalog/resource", {"version": {}}, 422, SHAPE + "version: invalid type: map"),
    ("/api/execute", {}, 422, "Either 'path' or 'catalog_id' must be provided"),
    ("/api/execute", {"path": "p", "payload": None}, 422, SHAPE + "payload: invalid type: null"),
    ("/api/execute", {"path": "p", "workload": [1]}, 422, SHAPE + "workload: invalid type: seq"),
    ("/api/execute", {"catalog_id": "x1"}, 422, SHAPE + "catalog_id: invalid type: string"),
    ("/api/execute", {"path": "p", "parent_execution_id": 1.0}, 422, SHAPE + "parent_execution"),
    ("/api/execute", {"path": "p", "version": "v2"}, 422, "Invalid version number"),
    ("/api/execute", {"path": "p", "version": True}, 422, SHAPE + "version"),
    ("/api/execute", {"path": "p", "dedup": {}}, 422, SHAPE + "dedup: missing field `key`"),
    (
        "/api/execute",
        {"path": "p", "dedup": {"key": "k", "window_secs": -1}},
        422,
        SHAPE + "dedup.window_secs: invalid value",
    ),
    ("/api/execute", {"path": "p", "execution_pool": "x" * 129}, 422, "execution_pool is longer"),
    ("/api/execute", {"path": "p", "dedup": {"key": "k" * 501}}, 422, "dedup.key is longer"),
    ("/api/catalog/list", {"agent_only": 1}, 422, SHAPE + "agent_only: invalid type: integer"),
    ("/api/catalog/list", {"capabilities": [1]}, 422, SHAPE + "capabilities[0]: invalid type"),
    ("/api/events", {}, 422, SHAPE + "missing field `execution_id`"),
    ("/api/events", EVENT | {"execution_id": "abc"}, 422, "Invalid execution_id"),
    ("/api/events", EVENT | {"execution_id": 1 << 63}, 422, "Invalid execution_id"),
    ("/api/events", EVENT | {"execution_id": None}, 422, SHAPE + "execution_id: invalid type: nu"),
    ("/api/events", EVENT | {"execution_id": 1.5}, 422, SHAPE + "execution_id: invalid type: fl"),
    ("/api/events", EVENT | {"execution_id": True}, 422, SHAPE + "execution_id: invalid type: bo"),
    ("/api/events", EVENT | {"event_id": "no"}, 422, "Invalid event_id: no"),
    ("/api/events", EVENT | {"event_id": []}, 422, SHAPE + "event_id: invalid type: sequence"),
    ("/api/events", EVENT | {"worker_id": 5}, 422, SHAPE + "worker_id: invalid type: integer `5`"),
    ("/api/events", EVENT | {"actionable": "yes"}, 422, SHAPE + "actionable: invalid type: string"),
    ("/api/events", EVENT | {"created_at": "yesterday"}, 422, SHAPE + "created_at: "),
    ("/api/events", EVENT | {"created_at": "2026-06-15T09:18:22"}, 422, SHAPE + "created_at: "),
    ("/api/events", EVENT | {"created_at": "0001-01-01T00:00:00+14:00"}, 422, SHAPE + "created"),
    ("/api/events", EVENT | {"event_ids": [1, "2"]}, 422, SHAPE + "event_ids[1]: invalid type"),
    ("/api/events", {"execution_id": 1, "step": "s"}, 422, SHAPE + "missing field `event_type`"),
    ("/api/events", b'{"execution_id":1' + b"0" * 40 + b"}", 422, SHAPE),
    ("/api/events/batch", {"execution_id": 1}, 422, SHAPE + "missing field `events`"),
    ("/api/events/batch", {"execution_id": 1, "events": {}}, 422, SHAPE + "events: invalid type"),
    (
        "/api/events/batch",
        {"execution_id": 1, "events": [{"step": "s"}]},
        422,
        SHAPE + "events[0]: missing field `event_type`",
    ),
    (
        "/api/events/batch",
        {"execution_id": 1, "events": [{"event_type": "t", "step": 5}]},
        422,
        SHAPE + "events[0].step: invalid type: integer `5`",
    ),
    (
        "/api/events/batch",
        {"execution_id": "x", "events": [{"event_type": "t", "step": "s"}]},
        422,
        "Invalid execution_id",
    ),
    ("/api/commands/x/claim", {"worker_id": "w"}, 400, "Invalid URL: Cannot parse `x` to a `i64`"),
    ("/api/commands/9/claim", {}, 422, SHAPE + "missing field `worker_id`"),
    ("/api/commands/9/claim", {"worker_id": 3}, 422, SHAPE + "worker_id: invalid type"),
    ("/api/worker/pool/register", {"kind": "broker"}, 422, SHAPE + "missing field `name`"),
    (
        "/api/worker/pool/register",
        {"name": "w", "kind": "broker", "component_type": "broker"},
        422,
        SHAPE + "duplicate field `kind`",
    ),
    ("/api/worker/pool/register", {"name": "w", "capacity": 1 << 31}, 422, SHAPE + "capacity"),
    ("/api/worker/pool/register", {"name": "w", "status": None}, 422, SHAPE + "status"),
    ("/api/worker/pool/heartbeat", {"name": None}, 422, SHAPE + "name: invalid type: null"),
    ("/api/executions/abc/cancel", {}, 400, "Invalid URL: Cannot parse `abc` to a `i64`"),
]

# path, status, text
GETS = [
    ("/api/commands/abc", 400, "Invalid URL: Cannot parse `abc` to a `i64`"),
    ("/api/commands/9223372036854775808", 400, "Invalid URL: "),
    ("/api/executions/1_0", 400, "Invalid URL: Cannot parse `1_0` to a `i64`"),
    ("/api/executions/%F0%9F%98%80/status", 400, "Invalid URL: "),
    ("/api/executions?limit=", 400, QUERY + "limit: cannot parse integer from empty string"),
    ("/api/executions?limit=ten", 400, QUERY + "limit: invalid digit found in string"),
    ("/api/executions?limit=99999999999", 400, QUERY + "limit: number too large"),
    ("/api/executions?path=a&path=b", 400, QUERY + "duplicate field `path`"),
    ("/api/executions/1/events?page=x", 400, QUERY + "page: invalid digit"),
    ("/api/executions/1?include_events=maybe", 400, QUERY + "include_events: provided string"),
    ("/api/executions/x/events/stream", 400, "Invalid URL: "),
    ("/api/executions/1/events/stream?since_event_id=x", 400, "Last-Event-ID is not a number"),
    ("/api/result/resolve", 400, QUERY + "missing field `ref`"),
    ("/api/result/resolve?ref=http://x", 400, "URI must start with 'noetl://', got: \"http"),
    ("/api/result/resolve?ref=noetl://execution/1", 400, "URI must have 5 path segments"),
    ("/api/result/resolve?ref=noetl://execution/x/result/n/1", 400, "URI must name"),
    ("/api/nothing", 404, "Not Found"),
    ("/api/health/", 404, "Not Found"),
    ("/api//health", 404, "Not Found"),
    ("/", 404, "Not Found"),
    ("/noetl/nothing", 404, "Not Found"),
    ("/api/catalog/demo/x", 404, "no route matched GET /api/catalog/demo/x"),
]


def _assert_refused(answer: Any, status: int, text: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status)
    assert body["error"].startswith(text), body["error"]
    assert body["detail"] == body["error"]
    assert set(body) == {"error", "status", "detail"}


async def test_bodies_are_refused(world: World, subtests: pytest.Subtests) -> None:
    for path, body, status, text in BODIES:
        with subtests.test(f"{path} {str(body)[:40]}"):
            _assert_refused(await world.post(path, body), status, text)

    assert world.backend.ingress == []


async def test_urls_are_refused(world: World, subtests: pytest.Subtests) -> None:
    for path, status, text in GETS:
        with subtests.test(path):
            _assert_refused(await world.get(path), status, text)


@pytest.mark.parametrize("kind", [None, "text/plain", "text/json", "application/jsonx", "json"])
async def test_other_content_types_are_refused(world: World, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}

    answer = await world.client.post("/api/execute", content=b"{}", headers=headers)

    _assert_refused(answer, 415, NOT_JSON)


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/problem+json"]
)
async def test_json_content_types_are_taken(world: World, kind: str) -> None:
    world.backend.answer("list", {"entries": []})

    answer = await world.client.post(
        "/api/catalog/list", content=b"{}", headers={"content-type": kind}
    )

    assert answer.status_code == 200


async def test_wrong_methods_name_the_right_ones(world: World, subtests: pytest.Subtests) -> None:
    rows = [
        ("POST", "/api/health", "GET,HEAD"),
        ("GET", "/api/execute", "POST"),
        ("GET", "/api/catalog/register", "POST"),
        ("POST", "/api/catalog/agents/x", "GET,HEAD"),
        ("PUT", "/api/worker/pool/deregister", "DELETE,POST"),
        ("PATCH", "/noetl/executions", "GET,HEAD"),
    ]
    for method, path, allowed in rows:
        with subtests.test(f"{method} {path}"):
            answer = await world.client.request(method, path)
            _assert_refused(answer, 405, "Method Not Allowed")
            assert set(answer.headers["allow"].split(",")) == set(allowed.split(","))


async def test_head_is_get_without_a_body(world: World) -> None:
    answer = await world.client.head("/health")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len('{"status":"ok"}'))


@pytest.mark.parametrize("path", ["/api/execute", "/no/such/path"])
async def test_options_answer_everywhere(world: World, path: str) -> None:
    origin = "http://localhost:3000"

    answer = await world.client.options(path, headers={"origin": origin})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "*"


async def test_origins_are_checked_on_errors_too(world: World) -> None:
    near = await world.get("/no", origin="http://127.0.0.1:1")
    far = await world.get("/no", origin="https://evil.example")

    assert near.headers["access-control-allow-origin"] == "http://127.0.0.1:1"
    assert "access-control-allow-origin" not in far.headers
    assert "origin" in far.headers["vary"]


async def test_a_list_of_origins_replaces_loopback(nats_url: str) -> None:
    async with make_world(nats_url, cors_allowed_origins="https://ui.example") as world:
        listed = await world.get("/health", origin="https://ui.example")
        near = await world.get("/health", origin="http://localhost")

    assert listed.headers["access-control-allow-origin"] == "https://ui.example"
    assert "access-control-allow-origin" not in near.headers


async def test_large_bodies_are_refused_except_for_results(nats_url: str) -> None:
    async with make_world(nats_url, max_body_bytes=2000, max_result_body_bytes=4000) as world:
        world.backend.answer("result.put", {"ref": "r"})
        for_events = await world.post("/api/events", EVENT | {"context": "x" * 2000})
        small_result = await world.client.put(
            f"/api/result/{EXECUTION_ID}", json={"name": "n", "data": "x" * 3000}
        )
        large_result = await world.client.put(
            f"/api/result/{EXECUTION_ID}", json={"name": "n", "data": "x" * 4000}
        )

        text = "Failed to buffer the request body: length limit exceeded"
        _assert_refused(for_events, 413, text)
        _assert_refused(large_result, 413, text)
        assert small_result.status_code == 200


async def test_a_body_without_a_length_is_limited_too(nats_url: str) -> None:
    async def chunks() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with make_world(nats_url, max_body_bytes=2000) as world:
        answer = await world.client.post(
            "/api/events", content=chunks(), headers={"content-type": "application/json"}
        )

        _assert_refused(answer, 413, "Failed to buffer the request body: length limit exceeded")


async def test_a_service_that_is_away_is_503_with_a_hint(world: World) -> None:
    world.backend.answer("executions.get", RpcReply(status=503, error="starting"))

    answer = await world.get("/api/executions/1")

    _assert_refused(answer, 503, "starting")
    assert answer.headers["retry-after"] == "1"


async def test_our_own_errors_have_their_status(world: World) -> None:
    def refuse(_request: Any) -> Any:
        raise Invalid("the {what} is no good", what="path")

    world.backend.answer("resource", refuse)

    answer = await world.post("/api/catalog/resource", {"path": "p"})

    assert answer.status_code == 422
    assert answer.json()["error"] == "the path is no good"


async def test_an_edge_without_ids_is_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Any) -> int:
        raise NotMinting(reason="the lease is lost")

    monkeypatch.setattr("noetl_common.ids.SnowflakeIds.next", refuse)

    answer = await world.post("/api/events", EVENT)

    _assert_refused(answer, 503, "no ids are made now")
    assert answer.headers["retry-after"] == "1"


async def test_nonsense_is_never_a_500(world: World) -> None:
    face = "\N{GRINNING FACE}"
    values: list[Any] = [None, True, 0, -1, 1e308, "", face, "x" * 5000, [], {}, [{}]]
    fields = ["execution_id", "event_id", "step", "event_type", "path", "catalog_id", "version"]
    fields += ["payload", "meta", "events", "worker_id", "name", "runtime", "content", "dedup"]
    paths = ["/api/execute", "/api/events", "/api/events/batch", "/api/catalog/register"]
    paths += ["/api/catalog/resource", "/api/commands/1/claim", "/api/worker/pool/register"]
    for operation in ("register", "resource", "claim", "runtime.register"):
        world.backend.answer(operation, RpcReply(status=422, error="no"))
    base = {"execution_id": 1, "step": "s", "name": "w", "path": "p", "worker_id": "w"}
    unexpected = []
    for path in paths:
        for name in fields:
            for value in values:
                answer = await world.post(path, base | {name: value})
                if answer.status_code not in {200, 422}:
                    unexpected.append((path, name, value, answer.text))

    assert unexpected == []

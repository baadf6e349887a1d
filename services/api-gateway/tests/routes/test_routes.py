"""Each route's request to the services, and its answer."""

import base64
import re
from typing import Any

import orjson
import pytest
from noetl_api_gateway.http.answers import for_pages
from noetl_contract.http.executions.events import EventAnswer, EventRequest
from noetl_contract.http.executions.start import ExecuteAnswer, ExecuteRequest
from noetl_contract.rpc import RpcReply
from noetl_testkit.waiting import PATIENCE_SECONDS
from pydantic import BaseModel

from ..conftest import EXECUTION_ID, World

EVENT = {
    "execution_id": EXECUTION_ID,
    "event_type": "call.done",
    "step": "start",
    "status": "COMPLETED",
    "created_at": "2026-06-15T09:18:22.901123456Z",
    "event_id": 325077238110482432,
    "worker_id": "w-1",
    "meta": {"attempts": 0},
    "context": {"command_id": "c", "call_index": 0, "result": {"status": "success"}},
}


async def test_health_answers_without_asking_anybody(world: World) -> None:
    answer = await world.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_api_health_tells_about_broker_and_database(world: World) -> None:
    body = (await world.get("/api/health")).json()

    assert body | {"uptime_seconds": 0, "version": ""} == {
        "status": "ok",
        "database": "connected",
        "nats": "connected",
        "uptime_seconds": 0,
        "version": "",
    }


async def test_register_decodes_base64(world: World) -> None:
    kept = {"status": "success", "path": "demo/hello", "version": 1, "catalog_id": "11"}
    world.backend.answer("register", kept)
    text = "kind: Playbook\nmetadata: {path: demo/hëllo}\n"
    content = base64.b64encode(text.encode()).decode()

    answer = await world.post("/api/catalog/register", {"content": content})

    assert (answer.status_code, answer.json()) == (200, kept)
    assert world.backend.requests("register") == [{"content": text, "resource_type": "Playbook"}]


@pytest.mark.parametrize("content", ["kind: Playbook", "YWJj\nZGVm", "/+8=", "YR=="])
async def test_register_takes_other_text_as_it_is(world: World, content: str) -> None:
    world.backend.answer("register", {})

    await world.post("/api/catalog/register", {"content": content, "resource_type": "MCP"})

    assert world.backend.requests("register") == [{"content": content, "resource_type": "MCP"}]


async def test_list_passes_its_filters_on(world: World) -> None:
    world.backend.answer("list", {"entries": []})
    filters = {"resource_type": "Playbook", "path": "p", "capabilities": ["a"]}

    await world.post("/api/catalog/list", filters)
    await world.post("/api/catalog/list", filters, origin="http://localhost:1")

    asked = filters | {"agent_only": False, "brief": False, "for_page": False}
    assert world.backend.requests("list") == [asked, asked | {"for_page": True}]


async def test_resource_takes_integers_and_texts(world: World) -> None:
    world.backend.answer("resource", {"path": "p"})

    await world.post("/api/catalog/resource", {"path": "p", "version": 2})
    await world.post("/api/catalog/resource", {"catalog_id": "12"})

    assert world.backend.requests("resource") == [
        {"path": "p", "version": 2},
        {"catalog_id": "12"},
    ]


async def test_execute_pins_the_version_and_answers_after_the_commit(world: World) -> None:
    answer = await world.post(
        "/api/execute",
        {
            "path": "demo/hello",
            "version": "3",
            "workload": {"a": 1, "b": 1},
            "payload": {"b": 2},
            "parent_execution_id": "77",
            "execution_pool": "",
            "dedup": {"key": "k"},
            "resource_kind": "playbook",
        },
        Idempotency_Key="once",
    )

    (message,) = world.backend.ingress
    assert answer.status_code == 200
    assert answer.json() == {
        "execution_id": str(message["execution_id"]),
        "status": "started",
        "commands_generated": 1,
    }
    assert world.backend.requests("resolve") == [{"path": "demo/hello", "version": 3}]
    assert (
        message
        | {
            "type": "execute",
            "v": 1,
            "execution_id": message["execution_id"],
            "catalog_id": 11,
            "path": "demo/hello",
            "version": 3,
            "payload": {"a": 1, "b": 2},
            "parent_execution_id": 77,
            "execution_pool": None,
            "trace": None,
            "dedup_key": "k",
            "dedup_window_seconds": 300,
            "idempotency_key": "once",
        }
        == message
    )
    assert (message["execution_id"] >> 12) & 1023 == 7


@pytest.mark.parametrize(("asked", "seconds"), [(90, 90), (0.5, 0.5), ("10m", 600), (None, None)])
async def test_a_start_may_have_a_deadline(world: World, asked: Any, seconds: float | None) -> None:
    answer = await world.post("/api/execute", {"path": "demo/hello", "timeout": asked})

    assert answer.status_code == 200
    assert world.backend.ingress[0]["timeout_seconds"] == seconds


@pytest.mark.parametrize("asked", [0, -1, True, "soon", "9999999h", [], 1e300])
async def test_a_deadline_that_is_none_is_refused_by_name(world: World, asked: Any) -> None:
    answer = await world.post("/api/execute", {"path": "demo/hello", "timeout": asked})

    assert answer.status_code == 422
    assert "timeout" in answer.text
    assert world.backend.ingress == []


async def test_execute_by_catalog_id_ignores_path_and_version(world: World) -> None:
    await world.post("/api/execute", {"catalog_id": "11", "path": "x", "version": "junk"})

    assert world.backend.requests("resolve") == [{"catalog_id": 11}]


async def test_execute_passes_the_catalogs_refusal_on(world: World) -> None:
    world.backend.answer("resolve", RpcReply(status=404, error="Playbook not found: nope"))

    answer = await world.post("/api/execute", {"path": "nope"})

    text = "Playbook not found: nope"
    assert answer.status_code == 404
    assert answer.json() == {"error": text, "status": 404, "detail": text}
    assert world.backend.ingress == []


async def test_event_is_passed_as_the_worker_sent_it(world: World) -> None:
    answer = await world.post("/api/events", EVENT)

    (message,) = world.backend.ingress
    assert answer.json() == {
        "status": "ok",
        "event_id": 325077238110482432,
        "commands_generated": 0,
    }
    assert (message["execution_id"], message["batch"]) == (EXECUTION_ID, False)
    event = message["events"][0]
    assert event.pop("created_at").isoformat() == "2026-06-15T09:18:22.901123+00:00"
    assert event == {
        "event_type": "call.done",
        "step": "start",
        "event_id": 325077238110482432,
        "status": "COMPLETED",
        "context": EVENT["context"],
        "meta": {"attempts": 0},
        "worker_id": "w-1",
        "result_kind": "data",
        "result_uri": None,
        "event_ids": None,
        "actionable": True,
        "informative": True,
    }


async def test_event_fields_have_other_names_and_defaults(world: World) -> None:
    body = {"execution_id": str(EXECUTION_ID), "name": "call.error", "step": "s", "payload": 1}

    await world.post("/api/events", body | {"context": {"not": "this"}})

    event = world.backend.ingress[0]["events"][0]
    assert (event["event_type"], event["context"], event["status"]) == ("call.error", 1, "FAILED")
    assert event["event_id"] > 0


async def test_nul_characters_are_replaced(world: World) -> None:
    body = b'{"execution_id":1,"name":"x","step":"a\\u0000b","context":{"k\\u0000":["\\u0000"]}}'

    await world.post("/api/events", body)

    event = world.backend.ingress[0]["events"][0]
    assert (event["step"], event["context"]) == ("a\ufffdb", {"k\ufffd": ["\ufffd"]})


async def test_batch_gets_ids_of_the_server(world: World) -> None:
    item = {"step": "start", "event_id": 5, "status": "X", "meta": {"a": 1}}
    answer = await world.post(
        "/api/events/batch",
        {
            "execution_id": str(EXECUTION_ID),
            "worker_id": "w1",
            "events": [
                item | {"name": "call.done", "payload": {"output": 1}},
                item | {"event_type": "command.failed", "actionable": True},
            ],
        },
        Idempotency_Key="w1:1:ab",
    )

    (message,) = world.backend.ingress
    first, second = message["events"]
    assert answer.json()["event_ids"] == [first["event_id"], second["event_id"]]
    assert first["event_id"] > 5
    assert (first["status"], second["status"]) == ("COMPLETED", "FAILED")
    assert (first["actionable"], second["actionable"]) == (False, True)
    assert (first["meta"], first["worker_id"]) == (None, "w1")
    assert (message["batch"], message["idempotency_key"]) == (True, "w1:1:ab")


async def test_empty_batch_is_done_before_the_execution_id_is_read(world: World) -> None:
    answer = await world.post("/api/events/batch", {"execution_id": "x", "events": []})

    assert answer.json() == {"status": "ok", "event_ids": [], "commands_generated": 0}
    assert world.backend.ingress == []


async def test_command_is_read_and_claimed(world: World) -> None:
    command: dict[str, Any] = {
        "execution_id": EXECUTION_ID,
        "node_id": "start",
        "node_name": "start",
        "action": "python",
        "context": {"execution_id": 5},
        "meta": {},
    }
    world.backend.answer("command.get", command)
    world.backend.answer("claim", {"status": "ok", "event_id": 9, **command})

    read = await world.get("/api/commands/9")
    claimed = await world.post("/api/commands/9/claim", {"worker_id": "w", "locality": "x"})

    assert read.json() == command
    assert claimed.json() == {"status": "ok", "event_id": 9, **command}
    assert world.backend.requests("claim") == [{"event_id": 9, "worker_id": "w"}]


async def test_claim_knows_its_execution_from_the_servers_url(world: World) -> None:
    world.backend.answer("claim", {"status": "ok"})

    login = base64.b64encode(f"{EXECUTION_ID}.9:1.secret".encode()).decode()
    claim = {"worker_id": "w"}
    await world.post("/api/commands/9/claim", claim, authorization=f"Basic {login}")

    assert world.backend.requests("claim")[0]["execution_id"] == EXECUTION_ID


async def test_a_claim_tells_which_workload_its_worker_knows(world: World) -> None:
    answer = {"status": "ok", "workload": {"rows": [1]}}
    world.backend.answer("claim", answer)

    body = {"worker_id": "w", "known_workload": 0}
    claimed = await world.post("/api/commands/9/claim", body)

    assert claimed.json() == answer
    assert world.backend.requests("claim") == [{"event_id": 9, **body}]


async def test_claim_conflict_carries_its_code(world: World) -> None:
    message = "Command already claimed by w-2"
    detail = {"code": "active_claim", "message": message}
    world.backend.answer("claim", RpcReply(status=409, error=message, detail=detail))

    answer = await world.post("/api/commands/9/claim", {"worker_id": "w"})

    assert answer.status_code == 409
    assert answer.json() == {"error": message, "status": 409, "detail": detail}


async def test_claim_of_a_command_that_nobody_knows_is_acknowledged_away(world: World) -> None:
    world.backend.answer("claim", RpcReply(status=404, error="command.issued event not found: 9"))

    answer = await world.post("/api/commands/9/claim", {"worker_id": "w"})

    assert answer.status_code == 409
    assert answer.json()["error"] == "Command already reached terminal state"
    assert answer.json()["detail"]["code"] == "already_terminal"


READS = [
    ("", "executions.get", {"execution_id": EXECUTION_ID}),
    ("/status", "executions.status", {"execution_id": EXECUTION_ID}),
    ("/cancellation-check", "executions.cancelled", {"execution_id": EXECUTION_ID}),
    (
        "?page=2&page_size=10",
        "executions.get",
        {
            "execution_id": EXECUTION_ID,
            "page": 2,
            "page_size": 10,
            "include_events": True,
        },
    ),
    (
        "?page=0&page_size=5000&include=context",
        "executions.get",
        {
            "execution_id": EXECUTION_ID,
            "page": 1,
            "page_size": 2000,
            "include_events": True,
            "has_command_contexts": True,
        },
    ),
    (
        "/events?page_size=2",
        "executions.events",
        {"execution_id": EXECUTION_ID, "page": 1, "page_size": 2},
    ),
    (
        "/events?since_event_id=5&event_type=call.done&step=a%20b",
        "executions.events",
        {
            "execution_id": EXECUTION_ID,
            "page": 1,
            "page_size": 100,
            "since_event_id": 5,
            "step": "a b",
            "event_type": "call.done",
        },
    ),
]


@pytest.mark.parametrize(("rest", "operation", "request_"), READS)
async def test_reads_of_an_execution(
    world: World, rest: str, operation: str, request_: dict[str, Any]
) -> None:
    world.backend.answer(operation, {"execution_id": EXECUTION_ID})

    answer = await world.get(f"/api/executions/{EXECUTION_ID}{rest}")

    assert answer.json() == {"execution_id": EXECUTION_ID}
    assert world.backend.requests(operation) == [request_]


@pytest.mark.parametrize(
    ("headers", "seen"), [({}, EXECUTION_ID), ({"Origin": "http://localhost"}, str(EXECUTION_ID))]
)
async def test_a_large_answer_is_passed_on_as_it_came(
    world: World, headers: dict[str, str], seen: int | str
) -> None:
    """Unread, but for browsers, which get their ids as text."""
    body = {"execution_id": EXECUTION_ID, "workload": {"text": "x" * 300_000, "n": None}}
    world.backend.answer("executions.get", body)

    answer = await world.get(f"/api/executions/{EXECUTION_ID}", **headers)

    assert answer.json() == body | {"execution_id": seen}


async def test_list_is_bounded(world: World) -> None:
    world.backend.answer("executions.list", [{"execution_id": EXECUTION_ID}])

    found = await world.get("/api/executions?limit=5000&path=hello&status=RUNNING&catalog_id=4")

    assert found.json() == [{"execution_id": EXECUTION_ID}]
    (asked,) = world.backend.requests("executions.list")
    wanted = {"catalog_id": 4, "path": "hello", "status": "RUNNING", "limit": 100, "offset": 0}
    assert asked == {**wanted, "soft_errors": False}


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "offset=-1", "limit=-5&offset=2"])
async def test_list_of_nothing(world: World, query: str) -> None:
    assert (await world.get(f"/api/executions?{query}")).json() == []


@pytest.mark.parametrize(
    ("body", "reason", "cascade"),
    [
        (b"", None, False),
        (b"not json", None, False),
        (b"[1]", None, False),
        (b'{"reason":"why","cascade":true}', "why", True),
        (b'{"reason":5,"cascade":"yes"}', None, False),
    ],
)
async def test_cancel_reads_a_body_if_there_is_one(
    world: World, *, body: bytes, reason: str | None, cascade: bool
) -> None:
    path = f"/api/executions/{EXECUTION_ID}/cancel"

    answer = await world.client.post(path, content=body, headers={"content-type": "text/plain"})

    (message,) = world.backend.ingress
    assert answer.json()["cancelled_executions"] == [str(EXECUTION_ID)]
    assert (message["reason"], message["cascade"]) == (reason, cascade)


async def test_a_worker_that_knows_of_reports_learns_that_they_are_taken(world: World) -> None:
    world.backend.answer("runtime.register", {"runtime_id": 5, "name": "w"})
    body = {"name": "w", "runtime": {"kind": "python", "command_reports": True}}

    answer = await world.post("/api/worker/pool/register", body)

    assert answer.json() == {"runtime_id": 5, "name": "w", "command_reports": True}


async def test_a_heartbeat_may_ask_whether_reports_are_taken(world: World) -> None:
    world.backend.answer("runtime.heartbeat", {"status": "ok", "message": "Heartbeat recorded"})

    asked = await world.post("/api/worker/pool/heartbeat", {"name": "w", "command_reports": True})
    plain = await world.post("/api/worker/pool/heartbeat", {"name": "w"})

    assert asked.json()["command_reports"] is True
    assert "command_reports" not in plain.json()


async def test_worker_lives_and_leaves(world: World) -> None:
    world.backend.answer("runtime.register", {"runtime_id": 5, "name": "w"})
    world.backend.answer("runtime.heartbeat", {"status": "ok", "message": "Heartbeat recorded"})
    gone = {"status": "ok", "message": "Runtime worker_pool w deregistered"}
    world.backend.answer("runtime.deregister", gone)
    world.backend.answer("runtime.pools", [])
    name = {"name": "w", "component_type": "worker_pool"}

    registered = await world.post(
        "/api/worker/pool/register", name | {"runtime": {"kind": "rust"}, "hostname": "h"}
    )
    beaten = await world.post("/api/worker/pool/heartbeat", {"name": "w"})
    posted = await world.post("/api/worker/pool/deregister", name)
    deleted = await world.client.request("DELETE", "/api/worker/pool/deregister", json=name)
    pools = await world.get("/api/worker/pools?name=w")

    assert registered.json() == {"runtime_id": 5, "name": "w"}
    assert beaten.json()["message"] == "Heartbeat recorded"
    assert (posted.json(), deleted.json()) == (gone, gone)
    assert pools.json() == []
    known = {"name": "w", "kind": "worker_pool"}
    assert world.backend.requests("runtime.deregister") == [known, known]
    assert [one for one in world.backend.requests("runtime.heartbeat") if one["name"] == "w"] == [
        known | {"over_edge": True}
    ]
    assert [one for one in world.backend.requests("runtime.register") if one["name"] == "w"] == [
        known | {"status": "active", "runtime": {"kind": "rust"}, "over_edge": True}
    ]


async def test_pool_status_is_the_orchestrators_or_unavailable(world: World) -> None:
    figures = {
        "pool_min": 1,
        "pool_max": 10,
        "pool_size": 3,
        "pool_available": 2,
        "requests_waiting": 0,
        "utilization": 0.1,
        "slots_available": 9,
        "status": "ok",
    }
    world.backend.answer("pool.status", RpcReply(status=503, error="no"))
    without = (await world.get("/api/pool/status")).json()
    world.backend.answer("pool.status", figures)

    assert (await world.get("/api/pool/status")).json() == figures
    assert without == dict.fromkeys(figures, 0) | {"status": "unavailable"}


async def test_result_is_kept_and_resolved(world: World) -> None:
    uri = f"noetl://execution/{EXECUTION_ID}/result/a/b/77"
    world.backend.answer("result.put", {"ref": uri})
    world.backend.answer("result.resolve", {"rows": [1]})

    kept = await world.client.put(
        f"/api/result/{EXECUTION_ID}", json={"name": "a/b", "data": None, "ttl": "1h"}
    )
    read = await world.client.get("/api/result/resolve", params={"ref": uri})

    assert (kept.json(), read.json()) == ({"ref": uri}, {"rows": [1]})
    (request,) = world.backend.requests("result.put")
    assert request.pop("result_id") > 0
    assert request == {
        "execution_id": EXECUTION_ID,
        "name": "a/b",
        "scope": "execution",
    }
    assert world.backend.requests("result.resolve") == [{"ref": uri}]


async def test_result_larger_than_a_message_is_fetched_in_parts(world: World) -> None:
    value = ["x" * 1000] * 20_000
    fetched: list[Any] = []

    async def fetch(request: dict[str, Any]) -> Any:
        incoming = await world.backend.bus.request(request["data_at"], seconds=PATIENCE_SECONDS)
        fetched.append(orjson.loads(incoming.data))
        return {"ref": "r"}

    world.backend.answer("result.put", fetch)

    kept = await world.client.put(
        f"/api/result/{EXECUTION_ID}", json={"name": "large", "data": value}
    )

    assert kept.json() == {"ref": "r"}
    assert fetched == [value]
    (request,) = world.backend.requests("result.put")
    assert (request["name"], "data" in request) == ("large", False)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://x"}, {"Sec-Fetch-Site": "none"}, {"X-Session-Token": "t"}, {}],
)
async def test_ids_are_strings_for_browsers(world: World, headers: dict[str, str]) -> None:
    body = {
        "execution_id": EXECUTION_ID,
        "parent_execution_id": None,
        "workload": {"execution_id": 5},
        "events": [{"event_id": 7, "catalog_id": 8, "result": {"catalog_id": 9}}],
    }
    world.backend.answer("executions.get", body)
    root = "/api" if headers else "/noetl"

    answer = await world.client.get(f"{root}/executions/{EXECUTION_ID}", headers=headers)

    assert answer.json() == {
        "execution_id": str(EXECUTION_ID),
        "parent_execution_id": None,
        "workload": {"execution_id": 5},
        "events": [{"event_id": 7, "catalog_id": "8", "result": {"catalog_id": 9}}],
    }


async def test_metrics_count_by_closed_sets(world: World) -> None:
    await world.post("/api/events", EVENT | {"event_type": "made.up"})
    await world.get("/api/executions/x")

    text = (await world.get("/metrics")).text
    assert 'noetl_events_ingested_total{event_type="other",status="ok"}' in text
    assert 'route="/api/executions/{execution_id}"' in text


async def test_metrics_count_what_reached_the_route(world: World) -> None:
    """A body or query of another shape never gets there."""

    async def counted() -> list[float]:
        text = (await world.get("/metrics")).text
        events = r'noetl_events_ingested_total{event_type="other",status="error"} (.+)'
        results = r'noetl_result_store_resolve_total{status="bad_request"} (.+)'
        found = [re.search(pattern, text) for pattern in (events, results)]
        return [0.0 if one is None else float(one[1]) for one in found]

    events, results = await counted()

    for wrong in ({"execution_id": "x"}, {"event_id": "x"}, {"step": 7}, {"event_id": 1.5}):
        answer = await world.post("/api/events", EVENT | {"event_type": "made.up"} | wrong)
        assert answer.status_code == 422
    for query in ("", "?ref=x", "?ref=x&ref=y"):
        assert (await world.get(f"/api/result/resolve{query}")).status_code == 400

    assert await counted() == [events + 2, results + 1]


@pytest.mark.parametrize("model", [ExecuteRequest, ExecuteAnswer, EventRequest, EventAnswer])
def test_examples_are_what_they_describe(model: type[BaseModel]) -> None:
    examples = model.model_json_schema()["examples"]

    for example in examples:
        assert model.model_validate(example).model_dump(exclude_unset=True) == example


async def test_description_is_served(world: World) -> None:
    description = (await world.get("/schema/openapi.json")).json()

    event = description["paths"]["/api/events"]["post"]
    schema = event["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["execution_id", "step"]
    assert "event_ids" in str(description["paths"]["/api/events/batch"])
    assert "$ref" not in str(description["paths"])


def test_what_an_author_calls_an_event_stays_as_it_is() -> None:
    theirs = {"event_id": 5, "position": 1, "id": "mine", "rows": [{"event_id": 6, "position": 2}]}
    body: dict[str, Any] = {
        "event_id": 7,
        "position": 3,
        "result": {"data": theirs},
        "context": theirs,
    }

    assert for_pages(body) == {**body, "event_id": 3, "id": "7"}


def test_a_web_page_gets_durations_that_it_can_show() -> None:
    result = {"context": {"result": {"context": {"duration_ms": 31}}, "call_index": 0}}
    call = {"event_type": "call.done", "duration": None, "result": result}
    told = {"event_type": "call.done", "duration": 2.5, "result": result}
    bare = {"event_type": "call.done", "duration": None, "result": None}
    body: Any = {
        "duration_seconds": 0.251,
        "duration_human": "0s",
        "events": [call, told, bare, {"event_type": "step.exit", "duration": None}],
        "result": {"duration_seconds": 0.1, "duration_human": "mine"},
    }

    shown = for_pages(body)
    longer = for_pages({"duration_seconds": 1.2, "duration_human": "1s"})

    assert (shown["duration_human"], longer["duration_human"]) == ("251ms", "1s")
    assert [one["duration"] for one in shown["events"]] == [0.031, 2.5, None, None]
    assert shown["result"] == body["result"]


def test_a_web_page_is_told_what_was_wrong() -> None:
    outer = {"position": 1, "error": None, "result": {"context": {"error": "refused"}}}
    inner = {"position": 2, "error": None, "result": {"context": {"result": outer["result"]}}}
    good = {"position": 3, "error": None, "result": {"context": {"result": {"context": {}}}}}
    message = "Python script exited with code 1: ZeroDivisionError: division by zero"
    soft = {"step": "divide", "message": message}
    body = {"error": None, "soft_errors": 1, "soft_error": soft, "events": [outer, inner, good]}

    shown = for_pages(body)

    assert (
        shown["error"] == "1 step ended with an error: divide: ZeroDivisionError: division by zero"
    )
    assert [one["error"] for one in shown["events"]] == ["refused", "refused", None]
    assert for_pages({**body, "error": "mine"})["error"] == "mine"
    assert for_pages({**body, "soft_errors": 2})["error"].startswith("2 steps ended with an error")


def _large(ref: str, meta: dict[str, Any], **selected: int) -> dict[str, Any]:
    """Return the result of an event whose body is kept elsewhere."""
    answer = {
        "context": {"data": {"_ref": ref, **selected}},
        "reference": {"ref": ref, "meta": meta},
    }
    return {"status": "COMPLETED", "context": {"result": answer, "call_index": 0}}


async def test_a_web_page_gets_the_beginning_of_a_large_result(world: World) -> None:
    ref = f"noetl://execution/{EXECUTION_ID}/result/start/5"
    large = {"password": "p4ss", "rows": ["a row of many"] * 400}
    meta = {"bytes": 5321, "media_type": "application/json"}
    result = _large(ref, meta, total=3)
    events = [{"event_id": 4, "position": 2, "event_type": "call.done", "result": result}]
    body = {"execution_id": EXECUTION_ID, "events": events, "result": {"_ref": ref}}
    world.backend.answer("executions.get", body)
    world.backend.answer("result.resolve", large)
    path = f"/api/executions/{EXECUTION_ID}"

    program = (await world.get(path)).json()
    pages = [(await world.get(path, Origin="http://localhost")).json() for _ in range(2)]

    assert program == body
    for page in pages:
        data = page["events"][0]["result"]["context"]["result"]["context"]["data"]
        beginning = data.pop("_preview")
        assert data == {"_ref": ref, "total": 3, "_size": 5321, "_type": "application/json"}
        assert (len(beginning), beginning[:30]) == (2048, '{"password":"[REDACTED]","rows')
        assert page["result"]["_preview"] == beginning
    # The same for everybody and for ever: it is read once.
    assert world.backend.requests("result.resolve") == [{"ref": ref}]


async def test_a_page_is_shown_a_reference_whose_result_is_gone(world: World) -> None:
    ref = f"noetl://execution/{EXECUTION_ID}/result/start/6"
    meta = {"bytes": 200_000, "media_type": "application/json"}
    events = [{"event_id": 4, "position": 2, "result": _large(ref, meta)}]
    world.backend.answer("executions.events", {"events": events})
    world.backend.answer("result.resolve", lambda _request: RpcReply(status=404, error="gone"))

    page = await world.get(f"/api/executions/{EXECUTION_ID}/events", Origin="http://localhost")

    data = page.json()["events"][0]["result"]["context"]["result"]["context"]["data"]
    assert data == {"_ref": ref, "_size": 200_000, "_type": "application/json"}


async def test_a_web_page_can_tell_events_apart(world: World) -> None:
    """It rounds large integers: the ids of two neighbours would be one."""
    events = [
        {"event_id": EXECUTION_ID + number, "position": number, "result": {"n": EXECUTION_ID}}
        for number in (2, 1)
    ]
    body = {"execution_id": EXECUTION_ID, "events": events, "path": "p", "count": 2}
    world.backend.answer("executions.events", body)
    path = f"/api/executions/{EXECUTION_ID}/events"

    page = (await world.get(path, Origin="http://localhost")).json()
    program = (await world.get(path)).json()

    assert program == body
    assert [(one["event_id"], one["id"]) for one in page["events"]] == [
        (2, str(EXECUTION_ID + 2)),
        (1, str(EXECUTION_ID + 1)),
    ]
    assert page["events"][0]["result"] == {"n": str(EXECUTION_ID)}
    assert page["count"] == 2


@pytest.mark.parametrize(
    ("headers", "query", "limit"),
    [
        ({}, "", 50),
        ({}, "?limit=400", 100),
        ({"Origin": "http://localhost"}, "", 500),
        ({"Origin": "http://localhost"}, "?limit=4000", 1000),
    ],
)
async def test_a_web_page_gets_a_longer_list(
    world: World, headers: dict[str, str], query: str, limit: int
) -> None:
    world.backend.answer("executions.list", [])

    await world.get(f"/api/executions{query}", **headers)

    assert world.backend.requests("executions.list")[0]["limit"] == limit

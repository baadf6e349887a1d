"""Batches of starts, reruns, ends, replay, events by id, subscriptions."""

import pytest
from noetl_common.ids import SnowflakeIds, mint_on_shard_of
from noetl_contract.ingress import FinalizeMessage
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for

from ...conftest import EXECUTION_ID, World, fields_of

FOUND = {"catalog_id": 11, "path": "demo/hello", "version": 3, "kind": "playbook"}
MISSING = RpcReply(status=404, error="Playbook not found: nope")


def resolve(request: dict[str, Json]) -> Json:
    return MISSING if request.get("path") == "nope" else FOUND


async def duplicate(*_: object) -> RpcReply:
    body = {"execution_id": "7", "status": "duplicate", "commands_generated": 0}
    return RpcReply.with_body(body)


# -- starts ------------------------------------------------------------------------------------


async def test_a_batch_answers_each_start_in_its_place(world: World) -> None:
    world.backend.answer("resolve", resolve)

    answer = await world.post(
        "/api/execute/batch",
        {"executions": [{"path": "a"}, {"path": "nope"}, {}, {"path": "a", "version": "x"}]},
    )

    body = answer.json()
    (message,) = world.backend.ingress
    assert answer.status_code == 200
    assert list(body) == ["count", "started", "duplicates", "failed", "results"]
    assert body == {
        "count": 4,
        "started": 1,
        "duplicates": 0,
        "failed": 3,
        "results": [
            {
                "index": 0,
                "status": "started",
                "execution_id": str(message["execution_id"]),
                "commands_generated": 1,
            },
            {
                "index": 1,
                "status": "error",
                "commands_generated": 0,
                "error": "Resource not found: Playbook not found: nope",
            },
            {
                "index": 2,
                "status": "error",
                "commands_generated": 0,
                "error": "Validation error: Either 'path' or 'catalog_id' must be provided",
            },
            {
                "index": 3,
                "status": "error",
                "commands_generated": 0,
                "error": "Validation error: Invalid version number",
            },
        ],
    }
    assert list(body["results"][0]) == ["index", "status", "execution_id", "commands_generated"]


async def test_a_batch_of_wrong_shape_starts_nothing(world: World) -> None:
    one = {"path": "a"}
    wrong: list[tuple[Json, str]] = [
        ({"executions": []}, "execute batch requires a non-empty 'executions' array"),
        ({"executions": [one] * 1001}, "execute batch size 1001 exceeds the 1000 cap"),
        ({"executions": [one, {"path": 1}]}, "executions[1].path: invalid type: integer `1`"),
        ({"executions": [one, 5]}, "executions[1]: invalid type: integer `5`"),
        ({"executions": one}, "executions: invalid type: map"),
        ({}, "missing field `executions`"),
    ]
    for body, text in wrong:
        answer = await world.post("/api/execute/batch", body)

        assert answer.status_code == 422, text
        assert text in answer.json()["error"]
    assert world.backend.ingress == []


async def test_a_batch_keeps_its_order_and_the_first_of_a_dedup_key_first(world: World) -> None:
    starts = [
        {"path": "a", "payload": {"n": n}, **({"dedup": {"key": "k"}} if n % 2 else {})}
        for n in range(40)
    ]

    answer = await world.post("/api/execute/batch", {"executions": starts}, Idempotency_Key="b")

    by_number = {m["payload"]["n"]: m for m in world.backend.ingress}
    assert [r["execution_id"] for r in answer.json()["results"]] == [
        str(by_number[n]["execution_id"]) for n in range(40)
    ]
    keyed = [m["payload"]["n"] for m in world.backend.ingress if m["dedup_key"]]
    assert keyed == list(range(1, 40, 2))
    assert by_number[3]["idempotency_key"] == "b:3"


async def test_a_suppressed_message_is_told_to_its_subscription(world: World) -> None:
    world.backend.on_ingress = duplicate
    world.backend.answer("log.project", {"projected": 1, "duplicates": 0})

    answer = await world.post(
        "/api/execute", {"path": "a", "parent_execution_id": 71, "dedup": {"key": "k"}}
    )

    (message,) = world.backend.ingress
    ((request,),) = [world.backend.requests("log.project")]
    (row,) = request["events"]
    assert answer.json() == {"execution_id": "7", "status": "duplicate", "commands_generated": 0}
    assert request["only_to_known"] is True
    assert (row["execution_id"], row["event_type"], row["status"]) == (
        71,
        "subscription.message.deduplicated",
        "DEDUPLICATED",
    )
    assert row["context"] == {
        "subscription_id": "71",
        "dedup_key": "k",
        "original_execution_id": "7",
        "suppressed_execution_id": str(message["execution_id"]),
        "duplicate_suppressed": True,
    }


def test_equal_keys_meet_on_one_shard() -> None:
    ids = SnowflakeIds(3)

    homes = {
        name: {
            shard_for(mint_on_shard_of(ids, name, shard_count=4), shard_count=4) for _ in range(8)
        }
        for name in (f"execute:{n}" for n in range(32))
    }

    assert all(len(shards) == 1 for shards in homes.values())
    assert set.union(*homes.values()) == {0, 1, 2, 3}


async def test_a_rerun_lays_its_workload_over_the_stored_one(world: World) -> None:
    origin = {"catalog_id": 9, "workload": {"a": 1, "b": {"c": 1}}}
    world.backend.answer("executions.origin", origin)

    answer = await world.post(
        f"/api/executions/{EXECUTION_ID}/rerun",
        {"workload": {"b": {"d": 2}}, "resource_kind": "playbook"},
    )
    bare = await world.client.post(f"/api/executions/{EXECUTION_ID}/rerun")

    first, second = world.backend.ingress
    assert answer.json() == {
        "execution_id": str(first["execution_id"]),
        "status": "started",
        "commands_generated": 1,
    }
    assert bare.status_code == 200
    assert first["payload"] == {"a": 1, "b": {"d": 2}}
    assert second["payload"] == origin["workload"]
    assert first["parent_execution_id"] is None
    assert world.backend.requests("resolve")[0] == {"catalog_id": 9}


async def test_a_rerun_of_the_unknown_is_named(world: World) -> None:
    text = "Execution not found: 5"
    world.backend.answer("executions.origin", RpcReply(status=404, error=text))

    answer = await world.post("/api/executions/5/rerun", {})
    wrong = await world.post("/api/executions/5/rerun", {"workload": 5})

    assert (answer.status_code, answer.json()["error"]) == (404, text)
    assert wrong.status_code == 422


async def test_a_restart_is_a_start_on_the_shard_of_its_origin(world: World) -> None:
    origin = {"catalog_id": 9, "workload": {"a": 1}, "execution_pool": "gpu"}
    world.backend.answer("executions.origin", origin)

    answer = await world.post(
        f"/api/executions/{EXECUTION_ID}/restart",
        {"from_step": "load", "iteration": 3, "input": {"a": 2}},
        idempotency_key="k",
    )
    bare = await world.client.post(f"/api/executions/{EXECUTION_ID}/restart")

    first, second = world.backend.ingress
    assert answer.json() == {
        "execution_id": str(first["execution_id"]),
        "status": "started",
        "commands_generated": 1,
        "origin_execution_id": str(EXECUTION_ID),
    }
    assert first["restart"] == {
        "execution_id": EXECUTION_ID,
        "from_step": "load",
        "iterations": [3],
        "input": {"a": 2},
    }
    assert first["idempotency_key"] == f"restart:{EXECUTION_ID}:k"
    assert (first["payload"], first["execution_pool"]) == ({}, "gpu")
    assert bare.status_code == 200
    assert second["restart"]["from_step"] is None


async def test_a_restart_may_take_another_version(world: World) -> None:
    world.backend.answer("executions.origin", {"catalog_id": 9, "workload": {}})

    await world.post(f"/api/executions/{EXECUTION_ID}/restart", {"version": "latest"})

    first, second = world.backend.requests("resolve")
    assert first == {"catalog_id": 9}
    assert "path" in second
    assert "version" not in second or second["version"] is None


@pytest.mark.parametrize("body", [{"iteration": -1}, {"iteration": "x"}, {"input": 5}])
async def test_a_restart_names_what_is_wrong(world: World, body: Json) -> None:
    answer = await world.post(f"/api/executions/{EXECUTION_ID}/restart", body)

    assert answer.status_code == 422
    assert next(iter(body)) in answer.json()["error"]


# -- ends --------------------------------------------------------------------------------------


async def test_stop_is_cancel(world: World) -> None:
    answer = await world.client.post(f"/api/executions/{EXECUTION_ID}/stop")

    (message,) = world.backend.ingress
    assert answer.json()["status"] == "cancelled"
    assert (message["type"], message["execution_id"]) == ("cancel", EXECUTION_ID)


async def test_finalize_ends_with_the_given_status(world: World) -> None:
    body = {
        "execution_id": EXECUTION_ID,
        "status": "FAILED",
        "message": "Execution finalized with status: FAILED",
    }

    async def finalize(*_: object) -> RpcReply:
        return RpcReply.with_body(body)

    world.backend.on_ingress = finalize
    sent = {"status": "FAILED", "error": "forced by operator"}

    answer = await world.post(f"/api/executions/{EXECUTION_ID}/finalize", sent)

    assert answer.json() == body
    assert list(answer.json()) == ["execution_id", "status", "message"]
    (message,) = world.backend.ingress
    assert message == fields_of(FinalizeMessage(execution_id=EXECUTION_ID, **sent))  # type: ignore[arg-type] # literals


async def test_finalize_checks_its_status_before_the_execution(world: World) -> None:
    wrong: list[tuple[Json, str]] = [
        ({"status": "DONE"}, "Invalid finalization status: DONE"),
        ({"status": "completed"}, "Invalid finalization status: completed"),
        ({"reason": "x"}, "missing field `status`"),
        ({"status": "FAILED", "error": 1}, "error: invalid type"),
    ]
    for body, text in wrong:
        answer = await world.post("/api/executions/5/finalize", body)

        assert answer.status_code == 422
        assert text in answer.json()["error"]
    assert world.backend.ingress == []


async def test_a_dry_cleanup_names_and_a_real_one_cancels(world: World) -> None:
    world.backend.answer("executions.stuck", {"execution_ids": [EXECUTION_ID, EXECUTION_ID + 1]})

    dry = await world.post("/noetl/executions/cleanup", {"older_than_minutes": 9, "dry_run": True})
    before = len(world.backend.ingress)
    real = await world.client.post("/api/executions/cleanup")
    shown = await world.post("/api/executions/cleanup", {}, origin="http://localhost:1")

    assert dry.json() == {
        "cancelled_count": 2,
        "execution_ids": [EXECUTION_ID, EXECUTION_ID + 1],
        "message": "[DRY RUN] Would cancel 2 stuck executions older than 9 minutes",
    }
    assert list(dry.json()) == ["cancelled_count", "execution_ids", "message"]
    assert before == 0
    assert (
        real.json()["message"] == "Successfully cancelled 2 stuck executions older than 5 minutes"
    )
    assert shown.json()["execution_ids"] == [str(EXECUTION_ID), str(EXECUTION_ID + 1)]
    assert {m["type"] for m in world.backend.ingress} == {"cancel"}
    assert world.backend.requests("executions.stuck")[:2] == [
        {"older_than_minutes": 9, "limit": 1000},
        {"older_than_minutes": 5, "limit": 1000},
    ]


async def test_cleanup_leaves_out_what_ended_meanwhile(world: World) -> None:
    async def ended(*_: object) -> RpcReply:
        return RpcReply(status=422, error="Cannot cancel execution in COMPLETED state")

    world.backend.answer("executions.stuck", {"execution_ids": [EXECUTION_ID]})
    world.backend.on_ingress = ended

    answer = await world.post("/api/executions/cleanup", {})
    wrong = await world.post("/api/executions/cleanup", {"older_than_minutes": 0})

    assert answer.json() == {
        "cancelled_count": 0,
        "execution_ids": [],
        "message": "No stuck executions found older than 5 minutes",
    }
    assert wrong.status_code == 422
    assert wrong.json()["error"] == "older_than_minutes must be at least 1, got 0"


# -- reads -------------------------------------------------------------------------------------


async def test_events_and_batches_are_found_by_id(world: World) -> None:
    result = {"event_id": 5, "execution_id": EXECUTION_ID, "status": "UNKNOWN"}
    state = {"request_id": "5", "state": "completed"}
    world.backend.answer("event.result", result)
    world.backend.answer("events.batch", state)

    event = await world.get("/api/events/5/result")
    shown = await world.get("/api/events/5/result", origin="http://localhost:1")
    status = await world.get("/api/events/batch/5/status")
    stream = await world.get("/api/events/batch/5/stream?timeout_seconds=30")

    assert event.json() == result
    assert shown.json() == {**result, "execution_id": str(EXECUTION_ID)}
    assert status.json() == state
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.content == b'event: status\ndata: {"request_id":"5","state":"completed"}\n\n'


async def test_unknown_events_and_batches_are_named(world: World) -> None:
    world.backend.answer("event.result", RpcReply(status=404, error="Event not found: 5"))
    world.backend.answer("events.batch", RpcReply(status=404, error="Batch request not found: 5"))

    event = await world.get("/api/events/5/result")
    status = await world.get("/api/events/batch/5/status")
    stream = await world.get("/api/events/batch/5/stream")
    wrong = await world.get("/api/events/x/result")

    assert event.json() == {
        "error": "Event not found: 5",
        "status": 404,
        "detail": "Event not found: 5",
    }
    assert (status.status_code, status.json()["error"]) == (404, "Batch request not found: 5")
    assert b'"state":"not_found"' in stream.content
    assert (wrong.status_code, wrong.json()["error"]) == (
        400,
        "Invalid URL: Cannot parse `x` to a `i64`",
    )


async def test_replay_asks_for_one_cut_at_most(world: World) -> None:
    world.backend.answer("replay.state", {"event_count": 0})
    plain: dict[str, Json] = {
        "execution_id": 1,
        "tenant_id": "default",
        "organization_id": "default",
        "projection": "all",
        "limit": 10_000,
    }
    cases: list[tuple[str, dict[str, Json]]] = [
        ("", {}),
        ("&as_of_event_id=5", {"as_of_event_id": 5}),
        ("&as_of_position=5", {"as_of_position": 5}),
        (f"&as_of_position={EXECUTION_ID}", {"as_of_event_id": EXECUTION_ID}),
        ("&as_of_time=2026-06-15T11:00:00%2B02:00", {"as_of_time": "2026-06-15T09:00:00+00:00"}),
        (
            "&projection=loop&limit=0&tenant_id=t",
            {"projection": "loop", "limit": 1, "tenant_id": "t"},
        ),
        ("&limit=999999&resolve_payloads=true", {"limit": 100_000}),
    ]
    for query, change in cases:
        answer = await world.get(f"/api/replay/state?execution_id=1{query}")

        assert answer.status_code == 200
        assert world.backend.requests("replay.state")[-1] == plain | change, query


async def test_replay_leaves_ids_in_what_playbooks_wrote_alone(world: World) -> None:
    thing = {"attributes": {"execution_id": 7}, "payload_refs": [{"reference": {"catalog_id": 8}}]}
    world.backend.answer("replay.state", {"execution_id": 1, "business_objects": {"t/1": thing}})

    shown = await world.get("/noetl/replay/state?execution_id=1")

    assert shown.json() == {"execution_id": "1", "business_objects": {"t/1": thing}}


WRONG_REPLAYS: list[tuple[str, str]] = [
    ("", "missing field `execution_id`"),
    ("execution_id=x", "execution_id: invalid digit found in string"),
    (
        "execution_id=1&as_of_event_id=1&as_of_time=2026-06-15T11:00:00Z",
        "Use only one replay cutoff: as_of_event_id, as_of_position, or as_of_time",
    ),
    (
        "execution_id=1&projection=x",
        'unknown projection "x"; expected one of: execution, stage, frame, command',
    ),
    ("execution_id=1&as_of_time=yesterday", "as_of_time: input contains invalid characters"),
    ("execution_id=1&resolve_payloads=yes", "was not `true` or `false`"),
]


async def test_replay_names_what_it_cannot_take(world: World) -> None:
    for query, text in WRONG_REPLAYS:
        answer = await world.get(f"/api/replay/state?{query}")

        assert answer.status_code == 400, query
        assert text in answer.json()["error"]


_REST = {
    "catalog_id": 7,
    "completed_at": None,
    "start_time": "2026-06-15T09:18:22Z",
    "end_time": None,
    "duration_seconds": 1.0,
    "duration_human": "1s",
    "progress": 0,
    "parent_execution_id": None,
    "error": None,
    "soft_errors": 0,
}
_DETAIL: dict[str, Json] = {
    "version": 1,
    "workload": None,
    "result": None,
    "events": [],
    "events_included": True,
    "events_endpoint": "/api",
}
_STATUS: dict[str, Json] = {
    "execution_id": EXECUTION_ID,
    "status": "RUNNING",
    "current_step": "start",
    "progress": {"total_steps": 1, "completed_steps": 0, "running_steps": 1, "failed_steps": 0},
    "is_cancelled": False,
    "completed": False,
    "failed": False,
    "completed_steps": [],
    "start_time": "2026-06-15T09:18:22Z",
    "end_time": None,
    "duration_seconds": 1.0,
    "duration_human": "1s",
    "soft_errors": 0,
}
_EVENT = {
    "event_id": 5,
    "event_type": "call.done",
    "node_id": "start",
    "node_name": "start",
    "status": "COMPLETED",
    "created_at": "2026-06-15T09:18:22Z",
    "timestamp": "2026-06-15T09:18:22Z",
    "context": None,
    "result": None,
    "error": None,
    "execution_id": EXECUTION_ID,
    "catalog_id": 7,
    "parent_event_id": None,
    "parent_execution_id": None,
    "duration": None,
    "position": 3,
}


async def test_ehdb_names_lead_to_the_same_reads(world: World) -> None:
    entry = {
        "execution_id": EXECUTION_ID,
        "status": "RUNNING",
        "path": "p",
        "event_count": 3,
        "started_at": "2026-06-15T09:18:22Z",
        "version": 1,
        **_REST,
    }
    world.backend.answer("executions.list", [entry])
    told = {"status": "RUNNING", "path": "p", "catalog_id": 7, "parent_execution_id": None}
    told |= {"started_at": "2026-06-15T09:18:22Z", "completed_at": None}
    page = {"page": 1, "page_size": 100, "total_events": 3, "total_pages": 1}
    page |= {"has_next": False, "has_prev": False}
    detail = {**_REST, **_DETAIL, "execution_id": EXECUTION_ID, **told, "pagination": page}
    world.backend.answer("executions.get", detail)
    world.backend.answer("executions.status", _STATUS)
    tail = {
        "events": [_EVENT],
        "status": "RUNNING",
        "position": 3,
        "after_position": 0,
        "has_secrets": False,
    }
    world.backend.answer("executions.tail", tail)
    root = "/api/ehdb/executions"

    listed = (await world.get(f"{root}?status=RUNNING&limit=5")).json()
    one = (await world.get(f"{root}/{EXECUTION_ID}")).json()
    events = (await world.get(f"{root}/{EXECUTION_ID}/events")).json()
    await world.get(f"{root}/{EXECUTION_ID}/events?after=5&limit=9999")

    assert listed == {
        "executions": [
            {
                "execution_id": EXECUTION_ID,
                "status": "RUNNING",
                "path": "p",
                "events": 3,
                "event_count": 3,
                "started_at": "2026-06-15T09:18:22Z",
            }
        ],
        "count": 1,
    }
    state = {"execution_id": EXECUTION_ID, **told, "event_count": 3}
    state |= {"terminal": False, "current_node": "start"}
    assert one == {**detail, "exists": True, "state": state}
    assert events == {"execution_id": EXECUTION_ID, "events": [_EVENT], "count": 1}
    assert world.backend.requests("executions.list") == [
        {"status": "RUNNING", "limit": 5, "offset": 0}
    ]
    assert world.backend.requests("executions.tail") == [
        {"execution_id": EXECUTION_ID, "limit": 100},
        {"execution_id": EXECUTION_ID, "limit": 1000, "after_event_id": 5},
    ]


# -- logs without a playbook -------------------------------------------------------------------


async def test_events_of_a_log_without_a_playbook_are_appended(world: World) -> None:
    async def unknown(*_: object) -> RpcReply:
        return RpcReply(status=404, error="Execution not found: 71")

    world.backend.on_ingress = unknown
    world.backend.answer("log.post", {"status": "ok", "event_id": 5, "commands_generated": 0})
    event = {"execution_id": 71, "event_type": "subscription.message.received", "step": "ingress"}

    known = await world.post("/api/events", {**event, "event_id": 5})
    world.backend.answer("log.post", RpcReply(status=404, error="Execution not found: 71"))
    other = await world.post("/api/events", event)

    assert known.json() == {"status": "ok", "event_id": 5, "commands_generated": 0}
    assert (other.status_code, other.json()["error"]) == (404, "Execution not found: 71")
    (request, _) = world.backend.requests("log.post")
    assert (request["execution_id"], request["events"][0]["step"]) == (71, "ingress")


async def test_subscriptions_are_registered_read_and_changed(world: World) -> None:
    body = {"subscription_id": "71", "path": "subscriptions/orders", "state": "REGISTERED"}
    body |= {"catalog_id": "11", "last_event_type": "subscription.registered"}
    world.backend.answer("resolve", {**FOUND, "kind": "Subscription", "path": body["path"]})
    world.backend.answer("subscription.register", body)
    world.backend.answer("subscription.change", {**body, "state": "ACTIVE"})
    world.backend.answer("subscription.get", body)
    world.backend.answer("subscription.list", {"subscriptions": [body]})

    for path in ("/api/subscriptions", "/api/subscriptions/register"):
        assert (await world.post(path, {"path": body["path"]})).json() == body
    changed = await world.client.post("/api/subscriptions/71/activate")
    one = await world.get("/api/subscriptions/71")
    every = await world.get("/api/subscriptions")

    assert changed.json()["state"] == "ACTIVE"
    assert (one.json(), every.json()) == (body, {"subscriptions": [body]})
    registration = world.backend.requests("subscription.register")[0]
    assert (registration["path"], registration["catalog_id"]) == (body["path"], 11)
    assert world.backend.requests("subscription.change") == [
        {"subscription_id": 71, "action": "activate"}
    ]


async def test_only_subscriptions_can_be_registered(world: World) -> None:
    world.backend.answer("resolve", resolve)

    kind = await world.post("/api/subscriptions/register", {"path": "demo/hello"})
    unknown = await world.post("/api/subscriptions/register", {"path": "nope"})
    wrong = await world.post("/api/subscriptions/register", {})

    assert (kind.status_code, kind.json()["error"]) == (
        422,
        "Catalog entry 'demo/hello' is kind 'playbook', not 'subscription'",
    )
    assert (unknown.status_code, unknown.json()["error"]) == (404, "Subscription not found: nope")
    assert wrong.status_code == 422
    assert world.backend.requests("subscription.register") == []


async def test_routes_are_documented_with_refusals(world: World) -> None:
    paths = (await world.get("/schema/openapi.json")).json()["paths"]
    documented = {
        "/api/execute/batch": "post",
        "/api/executions/{execution_id}/rerun": "post",
        "/api/executions/{execution_id}/finalize": "post",
        "/api/executions/{execution_id}/stop": "post",
        "/api/executions/cleanup": "post",
        "/api/events/{event_id}/result": "get",
        "/api/replay/state": "get",
        "/api/subscriptions/{subscription_id}/{action}": "post",
    }
    for path, method in documented.items():
        operation = paths[path][method]

        assert operation["summary"], path
        assert {"400", "404", "422"} & set(operation["responses"]), path


async def test_a_version_of_the_author_pins_none_of_ours(world: World) -> None:
    answer = await world.post("/api/execute", {"path": "p", "version": "1.0"})

    assert answer.status_code == 200
    assert world.backend.requests("resolve")[0].get("version") is None

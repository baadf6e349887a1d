"""Internal routes: their requests to the services, and their answers."""

import base64
from collections.abc import AsyncIterator

import orjson
import pytest
from noetl_contract.access.capability import Capability
from noetl_contract.http.system.internal import (
    AdvanceAnswer,
    CallbackAnswer,
    ClaimedRows,
    MarkedRow,
    MarkedRows,
    PendingRows,
    ProjectAnswer,
    PurgeAnswer,
    RebuildAnswer,
)
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.outbox import FailedRow, RowsRequest
from pydantic import BaseModel

from ...conftest import EXECUTION_ID, World, make_world

TOKEN = "right"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
ROW = {
    "outbox_id": 41,
    "event_id": 5,
    "execution_id": 1,
    "subject": "noetl.events.default.default.1.0",
    "payload": {"event_type": "playbook_started"},
    "payload_codec": "json",
    "attempts": 1,
    "message_id": "e:1:1",
}
OWN_AFFAIRS = ("machine.", "runtime.", "executions.exists")
ROUTES = [
    ("POST", "/api/internal/outbox/claim"),
    ("POST", "/api/internal/outbox/mark-published"),
    ("POST", "/api/internal/outbox/mark-failed"),
    ("GET", "/api/internal/outbox/pending-count"),
    ("GET", "/api/internal/pools/shared/demand"),
    ("POST", "/api/internal/events/project"),
    ("POST", "/api/internal/cleanup/purge"),
    ("POST", "/api/internal/container-callback/1/s"),
    ("GET", "/api/internal/ingress/orders"),
    ("POST", "/api/internal/projection/advance"),
    ("POST", "/api/internal/projection/rebuild"),
]


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    """An edge that has a token."""
    async with make_world(nats_url, internal_api_token=TOKEN) as made:
        yield made


async def post(world: World, path: str, body: Json) -> tuple[int, Json]:
    answer = await world.post(f"/api/internal/{path}", body, **AUTHORIZED)
    return answer.status_code, answer.json()


async def test_each_route_is_behind_the_gate(world: World) -> None:
    """Before the body is looked at: an empty one would be refused otherwise."""
    wrong = ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"})
    for method, path in ROUTES:
        for headers in wrong:
            answer = await world.client.request(method, path, headers=headers)

            assert answer.status_code == 403, path
    asked = {name for name, _ in world.backend.asked}
    assert [name for name in asked if not name.startswith(OWN_AFFAIRS)] == []


async def test_without_a_token_on_the_server_nobody_passes(nats_url: str) -> None:
    async with make_world(nats_url, internal_api_token=" \n") as world:
        answer = await world.get("/api/internal/outbox/pending-count", **AUTHORIZED)

    assert answer.status_code == 503
    assert answer.json()["error"].startswith("Internal API not configured")


async def test_a_wrong_method_never_reaches_the_gate(world: World) -> None:
    answer = await world.get("/api/internal/outbox/claim")

    assert answer.status_code == 405


CLAIMS: list[tuple[Json, str, int]] = [
    ({}, "", 100),
    ({"limit": 2}, "", 2),
    ({"limit": "3"}, "", 3),
    ({"limit": 0}, "", 1),
    ({"limit": 5000}, "", 1000),
    ({"limit": None}, "", 100),
    ({}, "?limit=7", 7),
    ({"limit": 2}, "?limit=7", 2),
    ({"limit": 2}, "?limit=x", 2),
    (b"", "?limit=7", 7),
]


async def test_a_claim_asks_for_as_many_rows_as_it_says(world: World) -> None:
    world.backend.answer("outbox.claim", {"rows": [ROW], "claimed": 1})
    for body, query, limit in CLAIMS:
        status, answer = await post(world, f"outbox/claim{query}", body)

        assert (status, answer) == (200, {"rows": [ROW], "claimed": 1})
        assert list(answer) == ["rows", "claimed"]
        asked = orjson.dumps(world.backend.requests("outbox.claim")[-1])
        assert RowsRequest.from_json(asked).limit == limit, (body, query)


async def test_ids_of_the_internal_api_are_numbers_for_everybody(world: World) -> None:
    """Ids stay numbers; the gateway's alias and a browser's mark change nothing."""
    world.backend.answer("outbox.claim", {"rows": [ROW], "claimed": 1})

    answer = await world.post(
        "/noetl/internal/outbox/claim", {}, origin="http://localhost", **AUTHORIZED
    )

    assert answer.json()["rows"] == [ROW]


WRONG: list[tuple[str, Json, int, str]] = [
    ("outbox/claim", {"limit": True}, 422, "limit: invalid type: boolean `true`, expected i64"),
    ("outbox/claim", b"", 400, "EOF while parsing"),
    ("outbox/mark-published", {}, 422, "missing field `outbox_ids`"),
    ("outbox/mark-published", {"outbox_ids": []}, 400, "outbox_ids must not be empty"),
    ("outbox/mark-published", {"outbox_ids": ["x"]}, 422, "outbox_ids[0]: invalid type"),
    ("outbox/mark-failed", {"error": "e"}, 422, "missing field `outbox_id`"),
    ("outbox/mark-failed", {"outbox_id": 1}, 422, "missing field `error`"),
    ("outbox/mark-failed", {"outbox_id": 1, "error": ""}, 400, "error must not be empty"),
    ("events/project", {"events": []}, 400, "events must not be empty"),
    ("events/project", {"events": [{}]}, 422, "events[0]: missing field `event_id`"),
    ("events/project", {"events": [{"event_id": "1"}]}, 422, "events[0].event_id: invalid"),
    ("cleanup/purge", b"", 400, "EOF while parsing"),
    ("cleanup/purge", {"event_retention_days": "x"}, 422, "event_retention_days: invalid"),
    ("projection/advance", {"execution_ids": [1.5]}, 422, "execution_ids[0]: invalid type"),
    ("projection/rebuild", {"shard": 3}, 422, "There is no shard 3"),
    ("container-callback/x/s", {"state": "failed", "job_name": "j"}, 422, "'x' is not parse"),
    ("container-callback/1/%20", {"state": "failed", "job_name": "j"}, 422, "step path param"),
    ("container-callback/x/s", {"state": "done", "job_name": "j"}, 422, "unknown variant"),
    ("container-callback/1/s", {"state": "failed"}, 422, "missing field `job_name`"),
]


async def test_what_is_wrong_is_named(world: World) -> None:
    for path, body, status, text in WRONG:
        code, answer = await post(world, path, body)

        assert (code, answer["status"]) == (status, status), (path, body, answer)
        assert text in answer["error"]
        assert answer["detail"] == answer["error"]


async def test_marks_are_added_up(world: World) -> None:
    world.backend.answer("outbox.mark.published", {"marked": 2})
    world.backend.answer("outbox.mark.failed", {"marked": True, "available_at_in": 4})
    world.backend.answer("outbox.pending", {"pending": 3})

    published = await post(world, "outbox/mark-published", {"outbox_ids": [41, "42"]})
    failed = await post(world, "outbox/mark-failed", {"outbox_id": "43", "error": "e"})
    pending = await world.get("/api/internal/outbox/pending-count", **AUTHORIZED)

    assert published == (200, {"marked": 2})
    assert failed == (200, {"marked": True, "available_at_in": 4})
    assert pending.content == b'{"pending":3}'
    assert world.backend.requests("outbox.mark.published") == [{"outbox_ids": [41, 42]}]
    (asked,) = world.backend.requests("outbox.mark.failed")
    assert FailedRow.from_json(orjson.dumps(asked)) == FailedRow(
        outbox_id=43, error="e", attempts=1, max_delay_seconds=300
    )


async def test_envelopes_are_put_into_form_and_counted(world: World) -> None:
    world.backend.answer("log.project", {"projected": 1, "duplicates": 1})

    answer = await post(
        world,
        "events/project",
        {
            "events": [
                {
                    "event_id": 1,
                    "execution_id": EXECUTION_ID,
                    "catalog_id": "7",
                    "timestamp": "2026-06-15T11:18:22+02:00",
                    "created_at": "2020-01-01T00:00:00Z",
                    "duration": 2,
                    "tenant_id": "acme",
                    "worker_id": "lost",
                },
                {"event_id": 2, "created_at": "2020-01-01T00:00:00Z"},
            ]
        },
    )

    assert answer == (200, {"projected": 1, "duplicates": 1})
    assert list(answer[1]) == ["projected", "duplicates"]
    ((first, second),) = (r["events"] for r in world.backend.requests("log.project"))
    assert {name: value for name, value in first.items() if value is not None} == {
        "event_id": 1,
        "execution_id": EXECUTION_ID,
        "catalog_id": 7,
        "duration": 2.0,
        "tenant_id": "acme",
        "created_at": "2026-06-15T09:18:22+00:00",
    }
    assert (second["execution_id"], second.get("catalog_id")) == (0, None)
    assert second["created_at"] == "2020-01-01T00:00:00+00:00"


async def test_a_purge_without_a_body_keeps_the_usual_windows(world: World) -> None:
    world.backend.answer("purge", {"commands_purged": 3, "event_partitions_dropped": []})
    world.backend.answer("runtime.purge", {"purged": 1})

    empty = await world.post("/api/internal/cleanup/purge", {}, **AUTHORIZED)
    none = await world.client.post("/api/internal/cleanup/purge", headers=AUTHORIZED)

    assert empty.content == b'{"commands_purged":3,"runtime_purged":1,"events_purged":0}'
    assert none.content == empty.content
    usual = {"command_retention_days": 7}
    assert world.backend.requests("purge") == [usual, usual]
    assert world.backend.requests("runtime.purge") == [{"stale_minutes": 60}] * 2


async def test_a_purge_takes_rendered_numbers_and_names_partitions(world: World) -> None:
    dropped = ["event_pre_2026"]
    world.backend.answer("purge", {"commands_purged": 0, "event_partitions_dropped": dropped})

    answer = await post(
        world,
        "cleanup/purge",
        {
            "command_retention_days": "0",
            "runtime_stale_minutes": "-1",
            "event_retention_days": "365",
        },
    )

    assert answer == (
        200,
        {
            "commands_purged": 0,
            "runtime_purged": 0,
            "events_purged": 1,
            "event_partitions_dropped": dropped,
        },
    )
    assert world.backend.requests("runtime.purge") == []


async def test_another_content_type_is_refused(world: World) -> None:
    headers = {**AUTHORIZED, "content-type": "text/plain"}
    answer = await world.client.post("/api/internal/cleanup/purge", content=b"{}", headers=headers)

    assert answer.status_code == 415


async def test_a_callback_becomes_an_event_of_its_step(world: World) -> None:
    status, answer = await post(
        world,
        f"container-callback/{EXECUTION_ID}/train",
        {"state": "failed_oom", "job_name": "job-1", "exit_code": 137, "completed_at": None},
    )

    (message,) = world.backend.ingress
    (event,) = message["events"]
    assert status == 202
    assert answer == {"status": "accepted_in_flight", "event_id": str(event["event_id"])}
    assert message["idempotency_key"] == "callback:train:job-1:failed_oom"
    assert (event["event_type"], event["step"], event["status"]) == ("call.done", "train", "FAILED")
    assert event["meta"] == {"node_type": "container"}
    assert event["context"] | {"completed_at": ""} == {
        "terminal_state": "failed_oom",
        "job_name": "job-1",
        "job_uid": None,
        "completed_at": "",
        "exit_code": 137,
        "reason": None,
        "stdout_uri": None,
        "stderr_uri": None,
    }
    assert event["context"]["completed_at"].endswith("Z")


async def test_a_callback_may_name_its_command_and_bring_the_end_of_its_log(world: World) -> None:
    more = {"command_id": f"{EXECUTION_ID}:train:5", "logs": "done", "duration_ms": 3}

    status, _ = await post(
        world,
        f"container-callback/{EXECUTION_ID}/train",
        {"state": "succeeded", "job_name": "job-1", **more},
    )

    assert status == 202
    ((event,),) = [message["events"] for message in world.backend.ingress]
    assert {name: event["context"][name] for name in more} == more
    assert "error" not in event["context"]


async def test_a_callback_may_bring_the_result_of_its_step(world: World) -> None:
    command, result = f"{EXECUTION_ID}:train:5", {"status": "success", "context": {"data": 1}}

    status, _ = await post(
        world,
        f"container-callback/{EXECUTION_ID}/train",
        {"state": "succeeded", "job_name": "job-1", "command_id": command, "result": result},
    )

    assert status == 202
    ((event,),) = [message["events"] for message in world.backend.ingress]
    assert event["context"] == {"command_id": command, "call_index": 0, "result": result}
    assert event["meta"] == {"node_type": "container"}


async def test_a_callback_may_say_why_its_result_is_lost(world: World) -> None:
    command = f"{EXECUTION_ID}:train:9"
    body = {"state": "succeeded", "job_name": "j", "command_id": command}

    said = {**body, "result": {"status": "success"}, "error": "refused"}
    await post(world, f"container-callback/{EXECUTION_ID}/train", said)
    with_data = {**said, "result": {"status": "success", "context": {"data": 1}}}
    await post(world, f"container-callback/{EXECUTION_ID}/train", with_data)

    contexts = [one["events"][0]["context"] for one in world.backend.ingress]
    assert contexts == [
        {
            "command_id": command,
            "call_index": 0,
            "result": {"status": "success"},
            "error": "refused",
        },
        {
            "command_id": command,
            "call_index": 0,
            "result": {"status": "success", "context": {"data": 1}},
        },
    ]


async def test_the_login_of_a_command_brings_the_callback_of_its_execution(nats_url: str) -> None:
    key = "k" * 32
    body = {"state": "succeeded", "job_name": "job-1"}
    async with make_world(nats_url, command_key=key) as world:
        for execution_id, wanted in ((EXECUTION_ID, 202), (EXECUTION_ID + 1, 503)):
            login = Capability(EXECUTION_ID, 5, 1).userinfo(key.encode())
            shown = {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
            answer = await world.post(
                f"/api/internal/container-callback/{execution_id}/train", body, **shown
            )

            assert answer.status_code == wanted, answer.text


async def test_a_callback_of_an_unknown_execution_is_accepted_all_the_same(world: World) -> None:
    async def unknown(*_: object) -> RpcReply:
        return RpcReply(status=404, error="Execution not found: 5")

    world.backend.on_ingress = unknown

    answer = await post(
        world, "container-callback/5/train", {"state": "succeeded", "job_name": "j"}
    )

    assert answer == (202, {"status": "accepted_stale"})


async def test_projections_are_moved_and_rebuilt_by_request(world: World) -> None:
    world.backend.answer("projection.advance", {"advanced": 1, "checked": 2})
    world.backend.answer("projection.rebuild", {"rewritten": 5, "removed": 0, "after": 9})

    advanced = await post(world, "projection/advance", {"execution_ids": ["7", 8]})
    await post(world, "projection/advance", {"limit": "50"})
    rebuilt = await post(world, "projection/rebuild", {"after": "7", "limit": 5})

    assert advanced == (200, {"advanced": 1, "checked": 2})
    assert rebuilt == (200, {"rewritten": 5, "removed": 0, "after": 9})
    assert world.backend.requests("projection.advance") == [
        {"limit": 1000, "execution_ids": [7, 8]},
        {"limit": 50},
    ]
    assert world.backend.requests("projection.rebuild") == [{"after": 7, "limit": 5}]


SPEC = {
    "source": "webhook",
    "ingress": {
        "gateway_path": "/hooks/orders/",
        "verify": {"type": "hmac_sha256", "header": "X-Signature", "secret": "orders_key"},
    },
    "dispatch": {"playbook": "tests/orders", "execution_pool": "subscription"},
    "headers": {"a": 1},
}


def listening(world: World, spec: Json, **credential_fields: Json) -> None:
    found = {"path": "subscriptions/orders", "catalog_id": 9, "spec": spec}
    world.backend.answer("subscription.listener", found)
    world.backend.answer(
        "resolve", {"catalog_id": 9, "path": found["path"], "version": 1, "kind": "subscription"}
    )
    subscription = {"subscription_id": "71", "path": found["path"], "catalog_id": "9"}
    subscription |= {"state": "REGISTERED", "last_event_type": "subscription.registered"}
    world.backend.answer("subscription.register", subscription)
    credential = {"id": "1", "name": "orders_key", "type": "generic", "data": {"token": "s3cr3t"}}
    credential |= {"created_at": "2026-06-15T12:00:00Z", "updated_at": "2026-06-15T12:00:00Z"}
    world.backend.answer("credential.get", credential | credential_fields)


async def test_a_listener_gets_its_configuration(world: World) -> None:
    listening(world, SPEC)

    answer = await world.get("/api/internal/ingress/orders", **AUTHORIZED)

    assert answer.json() == {
        "listener": "orders",
        "catalog_path": "subscriptions/orders",
        "source": "webhook",
        "subscription_id": "71",
        "verify": {"type": "hmac_sha256", "header": "x-signature", "secret": "s3cr3t"},
        "dispatch": {
            "playbook": "tests/orders",
            "payload_from": "message.json",
            "execution_pool": "subscription",
        },
        "directives": {"a": 1},
    }
    assert list(answer.json()) == [
        "listener",
        "catalog_path",
        "source",
        "subscription_id",
        "verify",
        "dispatch",
        "directives",
    ]
    (registration,) = world.backend.requests("subscription.register")
    assert (registration["path"], registration["catalog_id"]) == ("subscriptions/orders", 9)


async def test_a_listener_has_no_secret_of_another_path(world: World) -> None:
    statuses = []
    for path in ("payments", "subscriptions/order", "subscriptions"):
        listening(world, SPEC, allowed_paths=[path])
        answer = await world.get("/api/internal/ingress/orders", **AUTHORIZED)
        statuses.append(answer.status_code)
        if answer.status_code == 403:
            text = "Credential 'orders_key' may not be used in 'subscriptions/orders'"
            assert answer.json()["error"] == text

    assert statuses == [403, 403, 200]


def changed(**ingress: Json) -> Json:
    return {**SPEC, "ingress": {**SPEC["ingress"], **ingress}}  # type: ignore[dict-item]


INCOMPLETE: list[tuple[Json, str]] = [
    (changed(verify=None), "ingress.verify is required"),
    (changed(verify={"type": "x"}), "unsupported ingress.verify.type 'x'"),
    (changed(verify={"type": "bearer"}), "ingress.verify.secret"),
    ({**SPEC, "dispatch": {}}, "dispatch.playbook missing"),
]


async def test_a_listener_that_is_not_complete_is_refused(world: World) -> None:
    for spec, text in INCOMPLETE:
        listening(world, spec)
        answer = await world.get("/api/internal/ingress/orders", **AUTHORIZED)

        assert answer.status_code == 422
        assert text in answer.json()["error"]
    assert world.backend.requests("subscription.register") == []


DOCUMENTED: list[tuple[str, type[BaseModel]]] = [
    ("outbox/claim", ClaimedRows),
    ("outbox/mark-published", MarkedRows),
    ("outbox/mark-failed", MarkedRow),
    ("events/project", ProjectAnswer),
    ("cleanup/purge", PurgeAnswer),
    ("projection/advance", AdvanceAnswer),
    ("projection/rebuild", RebuildAnswer),
    ("container-callback/{execution_id}/{step}", CallbackAnswer),
]


async def test_routes_are_documented_with_examples_and_refusals(world: World) -> None:
    document = (await world.get("/schema/openapi.json")).json()
    for path, answer in DOCUMENTED:
        operation = document["paths"][f"/api/internal/{path}"]["post"]
        status = "202" if "callback" in path else "200"
        media = operation["responses"][status]["content"]["application/json"]

        answer.model_validate(media["example"])
        assert "example" in operation["requestBody"]["content"]["application/json"]
        assert {"403", "503"} <= set(operation["responses"])
        assert operation["summary"]


def test_the_count_is_one_key() -> None:
    assert list(PendingRows.model_fields) == ["pending"]

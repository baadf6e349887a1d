"""Reasons for which an execution waits, and failures grouped by fingerprint."""

from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from ...conftest import EXECUTION_ID, World

NOW = "2026-06-15T10:00:00Z"
WORK = {
    "execution_id": EXECUTION_ID,
    "path": "p",
    "status": "RUNNING",
    "started_at": NOW,
    "now": NOW,
    "command_count": 1,
    "commands": [
        {
            "event_id": 5,
            "step": "start",
            "tool_kind": "noop",
            "pool": "system",
            "status": "PENDING",
            "issued_at": NOW,
        }
    ],
}


def group(fingerprint: str, last: str, ids: list[str]) -> JsonObject:
    return {
        "fingerprint": fingerprint,
        "path": "p",
        "step": "s",
        "kind": "tool",
        "message": "broke",
        "count": len(ids),
        "first_at": NOW,
        "last_at": last,
        "execution_ids": ids,
    }


async def test_why_names_the_pool_without_workers(world: World) -> None:
    world.backend.answer("executions.why", WORK)
    world.backend.answer("runtime.pools", [])
    world.backend.answer("pause.list", {"pauses": []})
    world.backend.answer("joins", {"joins": []})

    body = (await world.get(f"/api/executions/{EXECUTION_ID}/why")).json()

    assert body["status"] == "RUNNING"
    assert (body["open_commands"], body["workers"]) == (1, [])
    assert body["reasons"][0]["text"] == (
        "step 'start' waits for a worker: no worker of pool 'system' is registered"
    )


async def test_why_names_pauses_and_joins(world: World) -> None:
    pause = {"kind": "pool", "name": "system", "reason": None, "actor": "key:ann", "since": NOW}
    join = {"step": "end", "arrived": ["a"], "awaited": ["start"], "since": NOW}
    world.backend.answer("executions.why", WORK)
    world.backend.answer("runtime.pools", [])
    world.backend.answer("pause.list", {"pauses": [pause]})
    world.backend.answer("joins", {"joins": [join]})

    body = (await world.get(f"/api/executions/{EXECUTION_ID}/why")).json()

    assert [(one["code"], one["text"], one["since"]) for one in body["reasons"]] == [
        ("paused", "step 'start' is not handed out: pool 'system' is paused by key:ann", NOW),
        (
            "join",
            "step 'end' joins branches: it has been reached from 'a', and waits for 'start'",
            NOW,
        ),
    ]
    assert (body["reasons"][0]["pool"], body["reasons"][0]["actor"]) == ("system", "key:ann")
    assert body["reasons"][1]["awaited"] == ["start"]


async def test_failures_are_listed(world: World) -> None:
    listed = {"failures": [group("f1", NOW, ["1"])], "is_complete": True}
    world.backend.answer("failures.list", listed)

    answer = await world.get("/api/failures?state=all&path=et&limit=500&since=2026-06-15T00:00:00Z")
    wrong = await world.get("/api/failures?state=new")
    no_time = await world.get("/api/failures?since=yesterday")

    assert answer.json() == listed
    (asked, *_) = world.backend.requests("failures.list")
    assert (asked["state"], asked["path"], asked["limit"]) == ("all", "et", 100)
    assert asked["since"] == "2026-06-15T00:00:00+00:00"
    assert (wrong.status_code, no_time.status_code) == (422, 422)
    assert "open, dismissed, restarted or all" in wrong.json()["error"]


async def test_failures_since_a_time_of_another_zone(world: World) -> None:
    world.backend.answer("failures.list", {"failures": [], "is_complete": True})

    for zone in ("+02:00", "%2B02:00"):
        assert (await world.get(f"/api/failures?since=2026-06-15T02:00:00{zone}")).is_success

    asked = [one["since"] for one in world.backend.requests("failures.list")]
    assert asked == ["2026-06-15T00:00:00+00:00"] * 2
    for wrong in ("2026-06-15T02:00:00", "2026-W25-1T00:00:00Z", "0001-01-01T00:00:00%2B14:00"):
        answer = await world.get(f"/api/failures?since={wrong}")
        assert answer.status_code == 422, wrong


async def test_a_page_of_a_group_has_bounds(world: World) -> None:
    for route in ("restart", "dismiss"):
        for limit in (0, 101, True, "1", 1.5, None):
            body = {"fingerprint": "f1", "limit": limit}
            answer = await world.post(f"/api/failures/{route}", body)
            assert answer.status_code == 422
            assert answer.json()["error"].endswith("expected a number from 1 to 100")


async def test_a_group_is_restarted_by_pages(world: World) -> None:
    world.backend.answer("failures.of", {"execution_ids": [11, 12], "has_more": True})
    world.backend.answer("executions.origin", {"catalog_id": 9, "workload": {}})

    answer = await world.post("/api/failures/restart", {"fingerprint": "f1", "limit": 2})

    body = answer.json()
    started = {one["restart"]["execution_id"]: one for one in world.backend.ingress}
    assert (body["restarted"], body["refused"], body["has_more"]) == (2, 0, True)
    assert sorted(started) == [11, 12]
    assert started[11]["idempotency_key"] == "restart:11:failures"
    assert [one["execution_id"] for one in body["results"]] == ["11", "12"]


async def test_what_can_not_be_restarted_is_named(world: World) -> None:
    world.backend.answer("failures.of", {"execution_ids": [11], "has_more": False})
    text = "Execution not found: 11"
    world.backend.answer("executions.origin", RpcReply(status=404, error=text))

    body = (await world.post("/api/failures/restart", {"fingerprint": "f1"})).json()

    assert (body["restarted"], body["refused"]) == (0, 1)
    assert body["results"] == [{"execution_id": "11", "error": text}]


async def test_a_group_is_dismissed(world: World) -> None:
    done = {"fingerprint": "f1", "dismissed": 3, "has_more": False}
    world.backend.answer("failures.dismiss", done)

    answer = await world.post("/api/failures/dismiss", {"fingerprint": "f1"})

    assert answer.json() == done
    assert world.backend.requests("failures.dismiss")[0]["fingerprint"] == "f1"


async def test_an_analysis_is_why_with_advice(world: World) -> None:
    world.backend.answer("executions.why", WORK)
    world.backend.answer("runtime.pools", [])
    world.backend.answer("pause.list", {"pauses": []})
    world.backend.answer("joins", {"joins": []})

    answer = await world.post(f"/api/executions/{EXECUTION_ID}/analyze", {})

    told = answer.json()
    assert (answer.status_code, told["status"]) == (200, "RUNNING")
    assert told["findings"][0] | {"since": ""} == {
        "severity": "warning",
        "code": "no_worker",
        "message": told["summary"],
        "step": "start",
        "since": "",
    }
    assert told["recommendations"] == ["Start a worker of pool 'system'."]
    assert told["why"]["reasons"][0]["pool"] == "system"


async def test_what_is_not_part_of_the_server_is_told_in_a_sentence(world: World) -> None:
    paths = ("catalog/playbooks/explain/ai", "catalog/playbooks/generate/ai", "auth/login")
    for path in (*paths, f"executions/{EXECUTION_ID}/analyze/ai"):
        for prefix in ("api", "noetl"):
            answer = await world.post(f"/{prefix}/{path}", {})
            body = answer.json()
            assert (answer.status_code, body["detail"]) == (501, body["error"])
            assert " " in body["detail"]

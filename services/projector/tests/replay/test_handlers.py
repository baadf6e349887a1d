"""Logs folded up to a cutoff."""

import hashlib

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.projector import REPLAY_STATE, ReplayRequest

from services.projector.tests.conftest import AddLog, Ask

COMMAND = "1:start:1002"

LOG = [
    {"event_type": "playbook_started", "node": "playbook", "status": "STARTED"},
    {"event_type": "command.issued", "status": "PENDING", "meta": {"command_id": COMMAND}},
    {
        "event_type": "command.claimed",
        "status": "RUNNING",
        "meta": {"command_id": COMMAND, "worker_id": "w1"},
    },
    {"event_type": "step.enter", "node": "second", "status": "ENTERED"},
    {
        "event_type": "command.completed",
        "node": "second",
        "status": "success",
        "meta": {"command_id": COMMAND, "attempts": 0},
        "result": {
            "status": "success",
            "reference": {"uri": "gs://b/o", "rows_ref": {"meta": {"row_count": 3}}},
        },
    },
    {"event_type": "playbook.completed", "node": "playbook", "status": "COMPLETED"},
    {
        "event_type": "command.failed",
        "status": "FAILED",
        "meta": {"command_id": COMMAND, "late": True},
    },
]

CUTS: list[tuple[JsonObject, int, str]] = [
    ({"as_of_event_id": 1001}, 1, "UNKNOWN"),
    ({"as_of_event_id": 1004}, 4, "RUNNING"),
    ({"as_of_event_id": 1005}, 5, "RUNNING"),
    ({"as_of_event_id": 1006}, 6, "COMPLETED"),
    ({"as_of_event_id": 999}, 0, "UNKNOWN"),
    ({"as_of_event_id": 5000}, 7, "COMPLETED"),
    ({"as_of_position": 4}, 4, "RUNNING"),
    ({"as_of_time": "2020-01-01T00:00:00+00:00"}, 0, "UNKNOWN"),
    ({"as_of_time": "2100-01-01T00:00:00+00:00"}, 7, "COMPLETED"),
]
REPLAY = {
    "tenant_id": "default",
    "organization_id": "default",
    "projection": "all",
    "limit": 10_000,
}


async def replayed(ask: Ask, **cut: Json) -> JsonObject:
    body: JsonObject = (
        await ask(REPLAY_STATE, ReplayRequest(execution_id=1, **REPLAY, **cut))
    ).body
    return body


async def test_a_log_is_folded_up_to_its_end(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, LOG, status="COMPLETED")

    body = await replayed(ask)

    assert list(body) == [
        "tenant_id",
        "organization_id",
        "execution_id",
        "projection",
        "event_count",
        "last_event_id",
        "last_event_type",
        "execution",
        "stages",
        "frames",
        "commands",
        "business_objects",
        "loops",
        "checksum",
        "projection_checksums",
    ]
    assert (body["event_count"], body["last_event_type"]) == (7, "command.failed")
    reference = LOG[4]["result"]["reference"]  # type: ignore[index] # a literal of mixed types
    assert body["execution"] == {
        "status": "COMPLETED",
        "last_node_name": "second",
        "payload_refs": [
            {
                "event_id": 1005,
                "reference": reference,
                "summary": {"row_count": 3, "ref": "gs://b/o"},
            }
        ],
    }
    assert body["commands"] == {
        COMMAND: {
            "command_id": COMMAND,
            "worker_id": "w1",
            "status": "success",
            "issued_event_id": 1002,
            "claimed_event_id": 1003,
            "terminal_event_id": 1005,
            "last_event_id": 1005,
        }
    }


async def test_checksums_are_of_compact_sorted_json(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [*LOG, {"event_type": "ümläut", "node": "start"}], status="COMPLETED")

    body = await replayed(ask)
    whole = {name: value for name, value in body.items() if name != "checksum"}

    def digest(value: Json) -> dict[str, str]:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return {"type": "sha256", "value": hashlib.sha256(text).hexdigest()}

    assert body["checksum"] == digest(whole)
    assert body["projection_checksums"]["command"] == digest(body["commands"])
    assert list(body["projection_checksums"]) == sorted(body["projection_checksums"])


async def test_a_log_is_folded_up_to_any_event(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, LOG, status="COMPLETED")
    for cut, count, status in CUTS:
        body = await replayed(ask, **cut)

        assert (body["event_count"], body["execution"]["status"]) == (count, status), cut


async def test_rows_are_taken_in_the_order_of_the_log_not_of_their_ids(
    ask: Ask, add_log: AddLog
) -> None:
    """Workers mint ids with clocks of their own."""
    await add_log(1, [{**LOG[0], "event_id": 90}, {**LOG[3], "event_id": 10}])

    up_to_first = await replayed(ask, as_of_event_id=90)
    up_to_second = await replayed(ask, as_of_event_id=10)

    assert (up_to_first["event_count"], up_to_first["execution"]["status"]) == (1, "UNKNOWN")
    assert (up_to_second["event_count"], up_to_second["execution"]["status"]) == (2, "RUNNING")


async def test_nothing_is_folded_for_an_unknown_execution(ask: Ask) -> None:
    body = await replayed(ask)

    assert (body["event_count"], body["execution"]) == (
        0,
        {"status": "UNKNOWN", "payload_refs": []},
    )
    assert "last_event_id" not in body


async def test_loops_frames_stages_and_objects_are_folded(ask: Ask, add_log: AddLog) -> None:
    loop = {"loop_id": "l", "collection_size": 2}
    stage, frame = {"stage_id": "9", "loop_id": "k"}, {"frame_id": "8", "stage_id": "9"}
    order = {"object_type": "order", "object_id": "7"}
    await add_log(
        1,
        [
            {"event_type": "stage.opened", "meta": stage, "status": None},
            {"event_type": "frame.dispatched", "meta": {**frame, "attempt": 2}, "status": None},
            {"event_type": "frame.started", "meta": frame, "status": None},
            {"event_type": "frame.committed", "meta": {**frame, "row_count": 5}, "status": None},
            {"event_type": "stage.closed", "meta": {**stage, "row_count": 5}, "status": None},
            {"event_type": "loop.shard.done", "meta": loop},
            {"event_type": "loop.shard.failed", "meta": loop},
            {"event_type": "loop.done", "meta": loop},
            {
                "event_type": "order.created",
                "status": None,
                "meta": {"business_object": {**order, "state": {"a": 1, "b": 1}}},
            },
            {
                "event_type": "order.updated",
                "status": None,
                "meta": {"business_object": {**order, "patch": {"b": 2}}},
            },
            {"event_type": "order.deleted", "status": None, "meta": {"business_object": order}},
        ],
    )

    body = await replayed(ask)

    assert body["stages"]["9"] == {
        "stage_id": "9",
        "status": "CLOSED",
        "step_name": "start",
        "loop_event_id": "k",
        "opened_event_id": 1001,
        "closed_event_id": 1005,
        "frame_count": 0,
        "row_count": 5,
        "events_emitted": 0,
        "failed_count": 0,
        "last_event_id": 1005,
    }
    assert body["frames"]["8"] == {
        "frame_id": "8",
        "stage_id": "9",
        "claimed_event_id": 1002,
        "terminal_event_id": 1004,
        "status": "COMPLETED",
        "row_count": 5,
        "attempts": 2,
        "last_event_id": 1004,
        "events_emitted": 0,
    }
    assert body["loops"]["l"] == {
        "loop_id": "l",
        "step_name": "start",
        "total": 2,
        "done": 1,
        "failed": 1,
        "completed": True,
        "last_event_id": 1008,
    }
    order_body = body["business_objects"]["order/7"]
    assert (order_body["status"], order_body["attributes"], order_body["version"]) == (
        "DELETED",
        {"a": 1, "b": 2},
        3,
    )
    assert order_body["deleted_event_id"] == 1011

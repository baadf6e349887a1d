"""New entries (stage, frame, command, object) of a replayed state; unset keys are left out."""

from noetl_contract.json import JsonObject

STAGE: JsonObject = {
    "status": "UNKNOWN",
    "kind": None,
    "step_name": None,
    "parent_stage_id": None,
    "loop_event_id": None,
    "opened_event_id": None,
    "closed_event_id": None,
    "frame_count": 0,
    "row_count": 0,
    "events_emitted": 0,
    "failed_count": 0,
    "last_event_id": None,
}
FRAME: JsonObject = {
    "stage_id": None,
    "parent_frame_id": None,
    "command_id": None,
    "claimed_event_id": None,
    "terminal_event_id": None,
    "status": "UNKNOWN",
    "row_count": 0,
    "attempts": 0,
    "last_event_id": None,
    "events_emitted": 0,
    "output_ref": None,
    "output_ref_summary": None,
}
COMMAND: JsonObject = {
    "stage_id": None,
    "frame_id": None,
    "parent_command_id": None,
    "worker_id": None,
    "worker_locator": None,
    "status": "UNKNOWN",
    "issued_event_id": None,
    "claimed_event_id": None,
    "started_event_id": None,
    "terminal_event_id": None,
    "last_event_id": None,
}


def new_object(key: str, kind: str, identifier: str) -> JsonObject:
    """Return a business object before its first row."""
    return {
        "object_key": key,
        "object_type": kind,
        "object_id": identifier,
        "status": "UNKNOWN",
        "version": 0,
        "event_count": 0,
        "first_event_id": None,
        "last_event_id": None,
        "deleted_event_id": None,
        "last_event_type": None,
        "attributes": {},
        "payload_refs": [],
        "last_payload_ref": None,
    }

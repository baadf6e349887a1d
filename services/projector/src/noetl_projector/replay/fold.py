"""The state of an execution, folded from its log up to any event."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from noetl_contract.events import status_of_terminal
from noetl_contract.json import Json, JsonObject

from noetl_projector.replay.shapes import COMMAND, FRAME, STAGE, new_object

_ENTERED = frozenset({"step.enter", "step_enter", "step_started"})
_LEFT = frozenset({"step.exit", "step_completed", "command.completed"})
_LOOP_KEYS = ("loop_id", "loop_event_id", "__loop_epoch_id")
_SUMMARY = ("sha256", "schema_digest", "row_count", "media_type", "ref")
_SUMMARY_NAMES = {"sha256": ("sha256", "digest"), "ref": ("ref", "rows_ref.ref", "uri")}


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """Columns of a row that the fold needs; `reference` and `meta` must be masked before."""

    event_id: int
    event_type: str
    node_name: str | None
    status: str | None
    reference: Json
    meta: Json
    worker_id: str | None
    command_id: int | None
    stage_id: int | None
    frame_id: int | None
    aggregate_id: str | None
    aggregate_type: str | None


def replayed(
    rows: Iterable[ReplayRow],
    *,
    execution_id: int,
    tenant_id: str,
    organization_id: str,
    projection: str,
) -> JsonObject:
    """Fold rows in the order of the log into the complete answer, with checksums."""
    fold = _Fold()
    for row in rows:
        fold.take(row)
    body: JsonObject = {
        "tenant_id": tenant_id,
        "organization_id": organization_id,
        "execution_id": execution_id,
        "projection": projection,
        "event_count": fold.count,
    }
    if fold.last is not None:
        body["last_event_id"] = fold.last.event_id
        body["last_event_type"] = fold.last.event_type
    maps: JsonObject = {
        "execution": _without_none(fold.execution),
        "stages": _sorted(fold.stages),
        "frames": _sorted(fold.frames),
        "commands": _sorted(fold.commands),
        "business_objects": _sorted(fold.objects),
        "loops": _sorted(fold.loops),
    }
    body |= maps
    checksums = {name.removesuffix("s"): _checksum(maps[name]) for name in sorted(maps)}
    whole = _checksum({**body, "projection_checksums": checksums})
    return {**body, "checksum": whole, "projection_checksums": checksums}


class _Fold:
    """The state during the fold."""

    def __init__(self) -> None:
        self.count = 0
        self.last: ReplayRow | None = None
        self.execution: JsonObject = {
            "status": "UNKNOWN",
            "last_node_name": None,
            "payload_refs": [],
        }
        self.stages: dict[str, JsonObject] = {}
        self.frames: dict[str, JsonObject] = {}
        self.commands: dict[str, JsonObject] = {}
        self.objects: dict[str, JsonObject] = {}
        self.loops: dict[str, JsonObject] = {}
        self._ended = False

    def take(self, row: ReplayRow) -> None:
        """Apply the next row of the log."""
        self.count += 1
        self.last = row
        meta: Mapping[str, Json] = row.meta if isinstance(row.meta, dict) else {}
        if meta.get("late") is True:
            return  # a late row stays in the log but decides nothing (L1)
        self._take_execution(row)
        for take in (_take_stage, _take_frame, _take_command, _take_loop, _take_object):
            take(self, row, meta)

    def _take_execution(self, row: ReplayRow) -> None:
        execution = self.execution
        ended = status_of_terminal(row.event_type)
        if ended is not None and not self._ended:
            execution["status"] = str(ended)
            self._ended = True
        elif row.event_type in _ENTERED:
            if execution["status"] == "UNKNOWN":
                execution["status"] = "RUNNING"
            execution["last_node_name"] = row.node_name
        elif row.event_type in _LEFT:
            execution["last_node_name"] = row.node_name
        if row.reference is not None:
            execution["payload_refs"].append(_payload_ref(row))


def _take_stage(fold: _Fold, row: ReplayRow, meta: Mapping[str, Json]) -> None:
    stage_id = _aggregate(row, meta, "stage", row.stage_id)
    if stage_id is None:
        return
    stage = fold.stages.setdefault(stage_id, {"stage_id": stage_id, **STAGE})
    if row.event_type == "stage.opened":
        stage["status"], stage["opened_event_id"] = "OPEN", row.event_id
    elif row.event_type == "stage.closed":
        stage["status"], stage["closed_event_id"] = row.status or "CLOSED", row.event_id
        for name in ("frame_count", "row_count", "events_emitted", "failed_count"):
            stage[name] = _integer(meta.get(name), stage[name])
    elif row.status:
        stage["status"] = row.status
    for name in ("kind", "parent_stage_id"):
        stage[name] = _text(meta.get(name)) or stage[name]
    stage["step_name"] = _text(meta.get("step_name")) or row.node_name or stage["step_name"]
    stage["loop_event_id"] = _loop_id(meta) or stage["loop_event_id"]
    stage["last_event_id"] = row.event_id


def _take_frame(fold: _Fold, row: ReplayRow, meta: Mapping[str, Json]) -> None:
    frame_id = _aggregate(row, meta, "frame", row.frame_id)
    if frame_id is None:
        return
    frame = fold.frames.setdefault(frame_id, {"frame_id": frame_id, **FRAME})
    match row.event_type:
        case "frame.dispatched":
            frame["status"], frame["claimed_event_id"] = "CLAIMED", row.event_id
            frame["attempts"] = max(frame["attempts"], _integer(meta.get("attempt"), 1))
        case "frame.started":
            frame["status"] = "RUNNING"
        case "frame.abandoned":
            frame["status"] = row.status or "ABANDONED"
        case "frame.committed" | "frame.failed":
            is_done = row.event_type == "frame.committed"
            frame["status"] = row.status or ("COMPLETED" if is_done else "FAILED")
            frame["terminal_event_id"] = row.event_id
            if row.reference is not None:
                frame["output_ref"] = row.reference
                frame["output_ref_summary"] = _summary(row.reference)
        case _ if row.status:
            frame["status"] = row.status
    for name in ("row_count", "events_emitted"):
        frame[name] = _integer(meta.get(name), frame[name])
    frame["stage_id"] = _aggregate(row, meta, "stage", row.stage_id) or frame["stage_id"]
    frame["parent_frame_id"] = _text(meta.get("parent_frame_id")) or frame["parent_frame_id"]
    frame["command_id"] = _command_id(row, meta) or frame["command_id"]
    frame["last_event_id"] = row.event_id


_COMMAND_MOMENTS = {
    "command.issued": ("PENDING", "issued_event_id"),
    "command.claimed": ("CLAIMED", "claimed_event_id"),
    "command.started": ("RUNNING", "started_event_id"),
    "command.completed": ("COMPLETED", "terminal_event_id"),
    "command.failed": ("FAILED", "terminal_event_id"),
    "command.cancelled": ("CANCELLED", "terminal_event_id"),
}


def _take_command(fold: _Fold, row: ReplayRow, meta: Mapping[str, Json]) -> None:
    command_id = _command_id(row, meta)
    if command_id is None:
        return
    command = fold.commands.setdefault(command_id, {"command_id": command_id, **COMMAND})
    moment = _COMMAND_MOMENTS.get(row.event_type)
    if moment is not None:
        status, place = moment
        command["status"] = row.status or status
        command[place] = row.event_id
    command["worker_id"] = row.worker_id or _text(meta.get("worker_id")) or command["worker_id"]
    for name in ("worker_locator", "parent_command_id"):
        command[name] = _text(meta.get(name)) or command[name]
    command["stage_id"] = _aggregate(row, meta, "stage", row.stage_id) or command["stage_id"]
    command["frame_id"] = _aggregate(row, meta, "frame", row.frame_id) or command["frame_id"]
    command["last_event_id"] = row.event_id


def _take_loop(fold: _Fold, row: ReplayRow, meta: Mapping[str, Json]) -> None:
    loop_id = _loop_id(meta)
    if loop_id is None:
        return
    loop = fold.loops.get(loop_id)
    if loop is None:
        size = meta.get("collection_size", meta.get("total"))
        loop = fold.loops[loop_id] = {
            "loop_id": loop_id,
            "step_name": _text(meta.get("step_name")) or row.node_name,
            "total": size if _is_integer(size) else None,
            "done": 0,
            "failed": 0,
            "completed": False,
            "last_event_id": None,
        }
    if row.event_type in {"command.completed", "loop.shard.done"}:
        loop["done"] += 1
    elif row.event_type in {"command.failed", "loop.shard.failed"}:
        loop["failed"] += 1
    elif row.event_type in {"loop.done", "loop.fanin.completed"}:
        loop["completed"] = True
    loop["last_event_id"] = row.event_id


def _take_object(fold: _Fold, row: ReplayRow, meta: Mapping[str, Json]) -> None:
    named = _object_names(row, meta)
    if named is None:
        return
    kind, identifier = named
    key = f"{kind}/{identifier}"
    one = fold.objects.setdefault(key, new_object(key, kind, identifier))
    details = meta.get("business_object")
    details = details if isinstance(details, dict) else {}
    one["event_count"] += 1
    one["version"] = _integer(details.get("version", meta.get("version")), one["event_count"])
    is_deleted = row.event_type.endswith((".deleted", ".removed"))
    if row.status:
        one["status"] = row.status
    elif is_deleted:
        one["status"] = "DELETED"
    elif row.event_type.endswith((".created", ".updated", ".upserted")):
        one["status"] = "ACTIVE"
    if is_deleted:
        one["deleted_event_id"] = row.event_id
    _change_attributes(one, details)
    if row.reference is not None:
        one["last_payload_ref"] = _payload_ref(row)
        one["payload_refs"].append(one["last_payload_ref"])
    if one["first_event_id"] is None:
        one["first_event_id"] = row.event_id
    one["last_event_id"] = row.event_id
    one["last_event_type"] = row.event_type


def _change_attributes(one: JsonObject, details: Mapping[str, Json]) -> None:
    """Replace the attributes by a state, then lay a patch over them."""
    if isinstance(details.get("state"), dict):
        one["attributes"] = dict(details["state"])
    for name in ("patch", "attributes"):
        if isinstance(details.get(name), dict):
            one["attributes"] = {**one["attributes"], **details[name]}
            break


def _aggregate(
    row: ReplayRow, meta: Mapping[str, Json], kind: str, column: int | None
) -> str | None:
    """Return the id of a stage or frame that a row is about."""
    if column is not None:
        return str(column)
    if row.aggregate_type == kind and row.aggregate_id:
        return row.aggregate_id.removeprefix(f"{kind}/")
    return _text(meta.get(f"{kind}_id"))


def _command_id(row: ReplayRow, meta: Mapping[str, Json]) -> str | None:
    return str(row.command_id) if row.command_id is not None else _text(meta.get("command_id"))


def _loop_id(meta: Mapping[str, Json]) -> str | None:
    return next((found for name in _LOOP_KEYS if (found := _text(meta.get(name)))), None)


def _object_names(row: ReplayRow, meta: Mapping[str, Json]) -> tuple[str, str] | None:
    nested = meta.get("business_object")
    places: list[tuple[Mapping[str, Json], str, str]] = [
        (nested if isinstance(nested, dict) else {}, "object_type", "object_id"),
        (nested if isinstance(nested, dict) else {}, "type", "id"),
        (meta, "business_object_type", "business_object_id"),
        (meta, "object_type", "object_id"),
    ]
    for owner, kind_key, id_key in places:
        kind, identifier = _text(owner.get(kind_key)), _text(owner.get(id_key))
        if kind and identifier:
            return kind, identifier
    parts = (row.aggregate_id or "").split("/", 2)
    if len(parts) == 3 and parts[0] == "business_object" and parts[1] and parts[2]:
        return parts[1], parts[2]
    return None


def _payload_ref(row: ReplayRow) -> JsonObject:
    return {
        "event_id": row.event_id,
        "reference": row.reference,
        "summary": _summary(row.reference),
    }


def _summary(reference: Json) -> JsonObject:
    """Gather the known values of a reference; missing ones are left out."""
    if not isinstance(reference, dict):
        return {}
    found = {}
    for name in _SUMMARY:
        for place in _SUMMARY_NAMES.get(name, (name,)):
            value = _at(reference, place)
            for inner in ("rows_ref.meta", "rows_ref.ipc"):
                if value is None:
                    value = _at(_at(reference, inner), place)
            if value is not None:
                found[name] = value
                break
    return found


def _at(value: Json, path: str) -> Json:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Json) -> str | None:
    if isinstance(value, bool) or value is None or value == "":
        return None
    return str(value) if isinstance(value, str | int) else None


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(value: Json, default: int) -> int:
    return value if _is_integer(value) else default


def _sorted(found: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    by_bytes: Callable[[str], bytes] = str.encode
    return {key: _without_none(found[key]) for key in sorted(found, key=by_bytes)}


def _without_none(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if value is not None}


def _checksum(value: Json) -> dict[str, str]:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return {"type": "sha256", "value": hashlib.sha256(text).hexdigest()}

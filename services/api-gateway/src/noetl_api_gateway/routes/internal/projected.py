"""Envelopes of events that others wrote, as `events/project` takes them (http-b 10.7)."""

from typing import Any

from noetl_api_gateway.http.fields import (
    id_or_none,
    is_i64,
    parse_i64,
    require,
    require_object,
    text_or_none,
    time_or_none,
    wrong_type,
)

type Json = Any
type Object = dict[str, Any]

_TEXTS = (
    "event_type",
    "node_id",
    "node_name",
    "node_type",
    "status",
    "error",
    "stack_trace",
)


def read_envelope(item: Json, *, index: int) -> Object:
    """Return what is stored of an envelope; keys that it may have besides are not.

    Raises:
        Refusal: 422, a field has another type.
    """
    path = f"events[{index}]"
    source = require_object(item, name="Envelope", path=path)
    event_id = require(source, "event_id", path=path)
    if not is_i64(event_id):
        raise wrong_type(event_id, expected="i64", path=f"{path}.event_id")
    created_at = time_or_none(source, "timestamp", path=path)
    if created_at is None:
        created_at = time_or_none(source, "created_at", path=path)
    return {
        "event_id": event_id,
        "execution_id": id_or_none(source, "execution_id", path=path) or 0,
        "catalog_id": _catalog_id(source.get("catalog_id")),
        "parent_event_id": id_or_none(source, "parent_event_id", path=path),
        **{name: text_or_none(source, name, path=path) for name in _TEXTS},
        "duration": _number(source.get("duration"), path=f"{path}.duration"),
        "context": source.get("context"),
        "result": source.get("result"),
        "meta": source.get("meta"),
        "tenant_id": _word(source.get("tenant_id")),
        "organization_id": _word(source.get("organization_id")),
        "created_at": created_at,
    }


def _catalog_id(value: Json) -> int | None:
    """Return an id; an extra field of any other form is as good as none."""
    number = parse_i64(value) if isinstance(value, str) else value
    return number if number is not None and is_i64(number) else None


def _number(value: Json, *, path: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(value, expected="f64", path=path)
    return float(value)


def _word(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None

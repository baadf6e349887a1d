"""JSON Schemas of the bodies that outsiders read and write, each with its version."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter

from noetl_contract.commands import CommandNotification
from noetl_contract.events import EventMessage
from noetl_contract.http.executions.events import EventBatchRequest, EventRequest
from noetl_contract.http.workers.commands import ClaimAnswer, ClaimBody
from noetl_contract.json import Json, JsonObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Published:
    """A body under a name and version.

    Within a version only optional keys are added, and readers ignore keys that they don't know; any
    other change is a new version beside the old one.

    Attributes:
        where: the subject or route that it travels on.
        is_read: whether we read it; else we write it.
        always: optional keys that all that we write has.
    """

    name: str
    version: int
    body: type[Json]
    where: str
    is_read: bool = False
    always: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The schema's ``$id``."""
        return f"urn:noetl:schema:{self.name}:{self.version}"

    @property
    def file(self) -> str:
        """Its name as a file."""
        return f"{self.name}.v{self.version}.json"

    def schema(self) -> JsonObject:
        """Return the schema; keys that it doesn't name are allowed."""
        adapter = TypeAdapter(self.body)
        found = adapter.json_schema(mode="validation" if self.is_read else "serialization")
        if self.always:
            found = _without_null(found)
            found["required"] += self.always
        return {"$schema": _DIALECT, "$id": self.id, "x-noetl-where": self.where, **found}


PUBLISHED = (
    Published("event", 1, EventMessage, "noetl.events.<tenant>.<organization>.<execution id>"),
    Published(
        "command",
        1,
        CommandNotification,
        "noetl.commands.<pool>.<execution id>",
        always=("fast",),
    ),
    Published("claim", 1, ClaimBody, "POST /api/commands/{event_id}/claim", is_read=True),
    Published("claimed", 1, ClaimAnswer, "answer of POST /api/commands/{event_id}/claim"),
    Published("posted-event", 1, EventRequest, "POST /api/events", is_read=True),
    Published("posted-events", 1, EventBatchRequest, "POST /api/events/batch", is_read=True),
)


def _without_null(schema: Json) -> Json:
    """Return the schema of a struct as it is written: a field that is null is left out."""
    if isinstance(schema, list):
        return [_without_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    match schema.get("anyOf"):
        case [found, {"type": "null"}] if schema.get("default", 0) is None:
            return _without_null(found)
        case _:
            return {key: _without_null(value) for key, value in schema.items()}


@cache
def published_schemas() -> Mapping[str, JsonObject]:
    """Return the schemas by their file names."""
    return {one.file: one.schema() for one in PUBLISHED}


def narrowed(old: JsonObject, new: JsonObject, *, is_read: bool) -> Iterator[str]:
    """Yield reasons why a schema is not compatible with an older one of the same version.

    Args:
        old: as it was published.
        new: as it is now.
        is_read: whether we read such bodies. Then nothing may be wanted that was not; else
            everything that was promised has to come.
    """
    yield from _narrowed(
        "", old, new, (old.get("$defs", {}), new.get("$defs", {})), is_read=is_read
    )


def _narrowed(
    at: str, old: Json, new: Json, defs: tuple[JsonObject, JsonObject], *, is_read: bool
) -> Iterator[str]:
    old, new = _resolved(old, defs[0]), _resolved(new, defs[1])
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    changed = after - before if is_read else before - after
    for key in sorted(changed):
        yield f"{at}.{key} is {'required now' if is_read else 'not always there any more'}"
    properties: JsonObject = new.get("properties", {})
    for key, inner in old.get("properties", {}).items():
        if key not in properties:
            yield f"{at}.{key} is gone"
        else:
            yield from _narrowed(f"{at}.{key}", inner, properties[key], defs, is_read=is_read)
    known, now = _types(old, defs[0]), _types(new, defs[1])
    lost = known - now if is_read else now - known
    if known and now and lost:
        yield f"{at} {'takes no' if is_read else 'may be'} {', '.join(sorted(lost))}"
    if "items" in old and "items" in new:
        yield from _narrowed(f"{at}[]", old["items"], new["items"], defs, is_read=is_read)


def _resolved(schema: Json, defs: JsonObject) -> JsonObject:
    if isinstance(schema, dict) and "$ref" in schema:
        found: JsonObject = defs[schema["$ref"].rpartition("/")[2]]
        return found
    return schema if isinstance(schema, dict) else {}


def _types(schema: JsonObject, defs: JsonObject) -> set[str]:
    """Return the types of JSON that fit a schema; none for any."""
    parts = schema.get("anyOf")
    if parts is not None:
        found = [_types(_resolved(one, defs), defs) for one in parts]
        return set().union(*found) if all(found) else set()
    kind = schema.get("type")
    return {kind} if isinstance(kind, str) else set(kind or ())

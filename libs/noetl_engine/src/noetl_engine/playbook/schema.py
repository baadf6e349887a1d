"""The JSON Schema of playbooks, for editors. Permissive: unknown keys are never refused."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from noetl_engine.playbook.language import LEVELS, Key, Level, Schema
from noetl_engine.playbook.model import Json
from noetl_engine.playbook.parse.tools import TOOL_KINDS

SCHEMA_ID: Final = "https://noetl.io/schema/playbook.schema.json"
# The old notations of `next` beside the router.
_LEGACY_NEXT: Final[list[Json]] = [
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"$ref": "#/$defs/Target"}},
]


def json_schema(*, more_kinds: Collection[str] = ()) -> Schema:
    """The schema, made from the description of the language; ``more_kinds`` of tools are known."""
    definitions: dict[str, Json] = {
        name: _level(level) for name, level in sorted(LEVELS.items()) if name != "Playbook"
    }
    if more_kinds:
        kinds: list[Json] = [*TOOL_KINDS, *sorted(more_kinds)]
        kind = Key(LEVELS["ToolSpec"].keys["kind"].doc, {"enum": kinds}, is_required=True)
        keys = {**LEVELS["ToolSpec"].keys, "kind": kind}
        definitions["ToolSpec"] = _level(replace(LEVELS["ToolSpec"], keys=keys))
    definitions["NextRouter"] = {"anyOf": [_level(LEVELS["NextRouter"]), *_LEGACY_NEXT]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "NoETL Playbook",
        **_level(LEVELS["Playbook"]),
        "$defs": definitions,
    }


def _level(level: Level) -> Schema:
    schema: Schema = {
        "description": level.doc,
        "type": "object",
        "properties": {name: _key(key) for name, key in sorted(level.keys.items())},
    }
    required: list[Json] = [name for name, key in level.keys.items() if key.is_required]
    if required:
        schema["required"] = sorted(required, key=str)
    return schema


def _key(key: Key) -> Schema:
    """The schema of a value; null counts as absent where the key may be."""
    doc = key.doc if key.inert is None else f"{key.doc} No effect: {key.inert}."
    if key.is_required or not key.schema:
        return {"description": doc, **key.schema}
    return {"description": doc, "anyOf": [key.schema, {"type": "null"}]}

"""The JSON Schema of playbooks, for editors. Permissive: unknown keys are never refused."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from noetl_contract.tools import CREDENTIAL_KEYS, TOOL_KINDS, TOOLS, KeyType, ToolKey, ToolKind

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.levels import Key, Level, Schema
from noetl_engine.playbook.model import Value

SCHEMA_ID: Final = "https://noetl.io/schema/playbook.schema.json"
# Types of values; a text may be a template of any of them.
_TYPES: Final[dict[KeyType, tuple[str, ...]]] = {
    KeyType.ANY: (),
    KeyType.TEXT: ("string", "number", "boolean"),
    KeyType.UNSIGNED: ("integer", "string"),
    KeyType.INTEGER: ("integer", "string"),
    KeyType.NUMBER: ("number", "string"),
    KeyType.FLAG: ("boolean", "string"),
    KeyType.MAPPING: ("object", "string"),
    KeyType.TEXTS: ("object", "string"),
    KeyType.LIST: ("array", "string"),
    KeyType.TEXT_LIST: ("array", "string"),
    KeyType.LIST_OR_MAPPING: ("array", "object", "string"),
}
_TEMPLATE: Final = r"\{[{%]"
# The old notations of `next` beside the router.
_LEGACY_NEXT: Final[list[Value]] = [
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"$ref": "#/$defs/Target"}},
]


def json_schema(*, more_kinds: Collection[str] = ()) -> Schema:
    """Return the schema of the language and its tools; ``more_kinds`` of tools are known."""
    definitions: dict[str, Value] = {
        name: _level(level) for name, level in sorted(LEVELS.items()) if name != "Playbook"
    }
    definitions["ToolSpec"] = _tool(more_kinds)
    definitions["NextRouter"] = {"anyOf": [_level(LEVELS["NextRouter"]), *_LEGACY_NEXT]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "NoETL Playbook",
        **_level(LEVELS["Playbook"]),
        "$defs": definitions,
    }


def schema_of_levels(name: str, root: Level, levels: Mapping[str, Level]) -> Schema:
    """Return the schema of another kind of document, with the mappings that it refers to."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://noetl.io/schema/{name}.schema.json",
        "title": f"NoETL {name.title()}",
        **_level(root),
        "$defs": {one: _level(level) for one, level in sorted(levels.items())},
    }


def _tool(more_kinds: Collection[str]) -> Schema:
    level = LEVELS["ToolSpec"]
    if more_kinds:
        kinds: list[Value] = [*TOOL_KINDS, *sorted(more_kinds)]
        kind = Key(level.keys["kind"].doc, {"enum": kinds}, is_required=True)
        level = replace(level, keys={**level.keys, "kind": kind})
    rules: list[Value] = [
        {"if": _has_word("kind", kind.name), "then": _kind(kind)}
        for kind in TOOLS.values()
        if kind.keys
    ]
    return {**_level(level), "allOf": rules}


def _kind(kind: ToolKind) -> Schema:
    """Return the schema of one kind's configuration, beside that of every tool."""
    rules: list[Value] = [_one_of_them(names, kind.by_credential) for names in kind.required]
    if kind.variants is not None:
        rules += [
            {
                "if": _has_word(kind.variants.key, word),
                "then": {"required": list[Value](names)},
            }
            for word, names in kind.variants.required.items()
        ]
    schema: Schema = {"description": kind.description, "properties": _properties(kind.keys)}
    return {**schema, "allOf": rules} if rules else schema


def _has_word(key: str, word: str) -> Schema:
    return {"properties": {key: {"const": word}}, "required": [key]}


def _one_of_them(names: tuple[str, ...], by_credential: Collection[str]) -> Schema:
    if set(names) <= set(by_credential):
        names = (*names, *CREDENTIAL_KEYS)
    return {"anyOf": [{"required": [name]} for name in names]}


def _properties(keys: Iterable[ToolKey]) -> Schema:
    return {name: _tool_key(key) for key in keys for name in key.names}


def _tool_key(key: ToolKey) -> Schema:
    """Return the schema of a value, which may be a template until it is rendered."""
    schema: Schema = {"description": key.description}
    if key.default is not None:
        schema["default"] = key.default
    if key.choices:
        template: Value = {"type": "string", "pattern": _TEMPLATE}
        return {**schema, "anyOf": [{"enum": [*key.choices, None]}, template]}
    types = _TYPES[key.type]
    if not types:
        return schema
    return {**schema, "type": list[Value]([*types, "null"])}


def _level(level: Level) -> Schema:
    schema: Schema = {
        "description": level.doc,
        "type": "object",
        "properties": {name: _key(key) for name, key in sorted(level.keys.items())},
    }
    required: list[Value] = [name for name, key in level.keys.items() if key.is_required]
    if required:
        schema["required"] = sorted(required, key=str)
    return schema


def _key(key: Key) -> Schema:
    """Return the schema of a value; null counts as absent where the key may be."""
    doc = key.doc if key.inert is None else f"{key.doc} No effect: {key.inert}."
    if key.is_required or not key.schema:
        return {"description": doc, **key.schema}
    return {"description": doc, "anyOf": [key.schema, {"type": "null"}]}

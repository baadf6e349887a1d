"""Terms in which the language is described: levels of keys, and shapes of values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from noetl_engine.playbook.model import Value

type Schema = dict[str, Value]

ANY: Final[Schema] = {}
STRING: Final[Schema] = {"type": "string"}
# Outside of `tool` and `next` any scalar is taken as its text.
TEXT: Final[Schema] = {"type": ["string", "number", "boolean"]}
BOOLEAN: Final[Schema] = {"type": "boolean"}
INTEGER: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
NUMBER_OR_TEMPLATE: Final[Schema] = {"type": ["number", "string"]}
OBJECT: Final[Schema] = {"type": "object"}
LIST: Final[Schema] = {"type": "array"}


def one_of(*words: str) -> Schema:
    """Return the schema of one of a few words."""
    return {"enum": list(words)}


def reference(level: str) -> Schema:
    """Return the schema of a mapping that is described elsewhere."""
    return {"$ref": f"#/$defs/{level}"}


def list_of(item: Schema) -> Schema:
    """Return the schema of a list with items of one kind."""
    return {"type": "array", "items": item}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping.

    Attributes:
        doc: What it is for.
        schema: What its value looks like, as JSON Schema.
        inert: What happens to it instead, when nothing listens to it.
        is_required: Whether the mapping makes no sense without it.
    """

    doc: str
    schema: Schema = field(default_factory=dict)
    inert: str | None = None
    is_required: bool = False


def level_of(schema: Value) -> str | None:
    """Return the level that a schema refers to."""
    target = schema.get("$ref") if isinstance(schema, dict) else None
    return target.rpartition("/")[2] if isinstance(target, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One kind of mapping.

    Attributes:
        doc: What it describes.
        keys: The keys it knows.
        is_open: Whether keys it doesn't know are somebody's data.
    """

    doc: str
    keys: Mapping[str, Key]
    is_open: bool = False

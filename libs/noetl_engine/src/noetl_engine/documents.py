"""Check a document of any kind that has a language of its own."""

import re
from collections.abc import Collection
from typing import Final

from noetl_engine.playbook.levels import Schema
from noetl_engine.playbook.lint import Finding, lint
from noetl_engine.playbook.schema import json_schema, schema_of_levels
from noetl_engine.schedule.keys import DOCUMENT, LEVELS
from noetl_engine.schedule.read import read_schedule

_SCHEDULE: Final = re.compile(
    r"""^\s*["']?kind["']?\s*:\s*["']?schedule["']?\s*(?:#.*)?$""", re.IGNORECASE | re.MULTILINE
)


def is_schedule(text: str) -> bool:
    """Whether a text says that it is a schedule, by a line of its own at the left margin."""
    return any(not one.group().lstrip("\n").startswith(" ") for one in _SCHEDULE.finditer(text))


def lint_document(text: str, *, more_kinds: Collection[str] = ()) -> list[Finding]:
    """Return all findings of a schedule, or of what is taken for a playbook.

    ``more_kinds`` of tools are known in addition to the built-in ones.
    """
    if is_schedule(text):
        return read_schedule(text)[1]
    return lint(text, more_kinds=more_kinds)


def document_schema(kind: str, *, more_kinds: Collection[str] = ()) -> Schema | None:
    """Return the JSON Schema of a kind of document, in any case; None where there is none."""
    match kind.lower():
        case "playbook":
            return json_schema(more_kinds=more_kinds)
        case "schedule":
            return schema_of_levels("schedule", DOCUMENT, LEVELS)
        case _:
            return None

"""Check a document of any kind that the catalog knows."""

import re
from collections.abc import Collection
from typing import Final

from noetl_engine.kinds import DESCRIBED, LANGUAGES
from noetl_engine.playbook.levels import Schema
from noetl_engine.playbook.lint import Finding, lint
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.schema import json_schema, schema_of_levels
from noetl_engine.plugins.findings import lint_plugin
from noetl_engine.plugins.keys import PLUGIN, PLUGIN_LEVELS
from noetl_engine.schedule.keys import DOCUMENT, LEVELS
from noetl_engine.schedule.read import read_schedule
from noetl_engine.triggers.findings import lint_described, lint_subscription, lint_trigger
from noetl_engine.triggers.keys import (
    INGRESS_LEVELS,
    SUBSCRIPTION,
    TRIGGER,
    TRIGGER_LEVELS,
    subscription_spec,
)

_KIND: Final = re.compile(
    r"""^["']?kind["']?[ \t]*:[ \t]*["']?(\w+)["']?[ \t]*(?:#.*)?\r?$""",
    re.IGNORECASE | re.MULTILINE,
)


_WORKFLOW: Final = re.compile(r"""^["']?workflow["']?[ \t]*:""", re.MULTILINE)


def language_of(kind: str, text: str) -> str:
    """Return the kind whose language a document is written in, its own but for an agent.

    An agent with a workflow is a playbook; one without only describes an agent elsewhere.
    """
    is_run = kind == "agent" and _WORKFLOW.search(text) is not None
    return "playbook" if is_run else kind


def kind_of(text: str) -> str | None:
    """Return the kind that a text says it is, by a line of its own at the left margin.

    None where it says none that is known; such a text is taken for a playbook.
    """
    words = (found[1].lower() for found in _KIND.finditer(text))
    known = {*LANGUAGES, *DESCRIBED}
    return next((word for word in words if word in known), None)


def lint_document(
    text: str, *, kind: str | None = None, more_kinds: Collection[str] = ()
) -> list[Finding]:
    """Return all findings of a document.

    Args:
        text: the document.
        kind: what it is; by default what it says.
        more_kinds: tools that are known in addition to the built-in ones.
    """
    match language_of(kind or kind_of(text) or "playbook", text):
        case "schedule":
            return read_schedule(text)[1]
        case "trigger":
            return lint_trigger(text)
        case "subscription":
            return lint_subscription(text)
        case "plugin":
            return lint_plugin(text)
        case "playbook":
            return lint(text, more_kinds=more_kinds)
        case _:
            return lint_described(text)


def document_schema(kind: str, *, more_kinds: Collection[str] = ()) -> Schema | None:
    """Return the JSON Schema of a kind of document, in any case; None where there is none."""
    match kind.lower():
        case "playbook":
            return json_schema(more_kinds=more_kinds)
        case "schedule":
            return schema_of_levels("schedule", DOCUMENT, LEVELS)
        case "trigger":
            return schema_of_levels("trigger", TRIGGER, TRIGGER_LEVELS)
        case "plugin":
            return schema_of_levels("plugin", PLUGIN, PLUGIN_LEVELS)
        case "subscription":
            return _subscription_schema()
        case _:
            return None


def _subscription_schema() -> Schema:
    schema = schema_of_levels("subscription", SUBSCRIPTION, INGRESS_LEVELS)
    spec, definitions = subscription_spec()
    levels, properties = schema["$defs"], schema["properties"]
    return {
        **schema,
        "properties": {**_mapping(properties), "spec": spec},
        "$defs": {**_mapping(levels), **definitions},
    }


def _mapping(value: Value) -> Schema:
    return value if isinstance(value, dict) else {}

"""Find the templates of a failed task that rendered to nothing, which its error may come from."""

import re
from collections.abc import Iterator, Mapping

from noetl_contract.json import Json

from noetl_worker.tools.tool import ToolContext, ToolError

_EXPRESSION = re.compile(r"\{\{[^{}]{1,200}\}\}")
_MOST = 20
# Only the configuration itself is rendered with the keychain, so here it would seem empty.
_KEYCHAIN = re.compile(r"\bkeychain\b")
_NOT_CONFIGURATION = frozenset({"kind", "set", "spec"})


def empty_templates(spec: Mapping[str, Json], context: ToolContext) -> list[str]:
    """Return the expressions of a task's configuration that are empty or null; at most some."""
    texts = {key: value for key, value in spec.items() if key not in _NOT_CONFIGURATION}
    found = dict.fromkeys(one for one in _expressions(texts) if not _KEYCHAIN.search(one))
    return [one for one in list(found)[:_MOST] if _is_empty(one, context)]


def _expressions(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield from _EXPRESSION.findall(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)


def _is_empty(expression: str, context: ToolContext) -> bool:
    try:
        return context.render_task(expression) in {None, ""}
    except (ToolError, TypeError):  # a mapping or list has no hash, and is something
        return False

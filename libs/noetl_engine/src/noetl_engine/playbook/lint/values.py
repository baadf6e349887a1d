"""Values of tools that can't work as they are written: words of none of the choices, code."""

import ast
import warnings
from collections.abc import Iterable, Iterator
from typing import Final

from noetl_contract.tools import ToolKey, ToolKind

from noetl_engine.playbook.lint.finding import Finding, finding_at
from noetl_engine.playbook.lint.parts import ToolPart, items_of
from noetl_engine.playbook.yaml import MapNode, Scalar, is_absent

_MOST_CODE_CHARS: Final = 100_000


def value_findings(tool: ToolPart, kind: ToolKind) -> Iterator[Finding]:
    """Yield the values of a tool's configuration that can't work, templates left out."""
    yield from _words(tool.node, tool.path, kind.keys)
    if kind.name == "python" and is_absent(tool.node.entries.get("python")):
        yield from _syntax(tool)


def _words(node: MapNode, path: str, keys: Iterable[ToolKey]) -> Iterator[Finding]:
    for key in keys:
        for name in key.names:
            value, place = node.entries.get(name), f"{path}.{name}"
            if isinstance(value, Scalar) and key.choices:
                word = value.text
                if value.value is not None and "{" not in word and word not in key.choices:
                    message = (
                        f"'{word[:50]}' is none of the words of '{name}': {', '.join(key.choices)}"
                    )
                    yield finding_at(value, place, "unknown-word", message)
            for item in (value, *items_of(value)) if key.keys else ():
                if isinstance(item, MapNode):
                    yield from _words(item, place, key.keys)


def _syntax(tool: ToolPart) -> Iterator[Finding]:
    """Yield the first syntax error of a script; one with templates is known when it is rendered."""
    code = tool.node.entries.get("code")
    if not isinstance(code, Scalar) or not isinstance(code.value, str):
        return
    text = code.value
    if "{{" in text or "{%" in text or "{#" in text or len(text) > _MOST_CODE_CHARS:
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except SyntaxError as error:
        message = f"line {error.lineno} of the script: {error.msg}: the step fails"
        yield finding_at(code, f"{tool.path}.code", "python-syntax", message)
    except (ValueError, RecursionError, MemoryError):
        return  # the interpreter says more when it runs

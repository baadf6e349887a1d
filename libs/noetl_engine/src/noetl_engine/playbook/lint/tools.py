"""Tools that can't run as they are written, and their keys without effect."""

from collections.abc import Iterator, Mapping
from typing import Final

from noetl_contract.tools import TOOLS, ToolKind

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.lint.finding import Finding, finding_at, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import StepPart, ToolPart, steps_of
from noetl_engine.playbook.yaml import MapNode, Scalar

_FAILS: Final = "the step fails"


def tool_findings(root: MapNode, guess: Guesser) -> Iterator[Finding]:
    """Check the tools of all steps against the tables of their kinds."""
    for step in steps_of(root):
        for tool in step.tools():
            kind = TOOLS.get(tool.kind)
            if kind is not None:
                yield from _tool(step, tool, kind)
                yield from _strangers(tool, kind, guess)


def _tool(step: StepPart, tool: ToolPart, kind: ToolKind) -> Iterator[Finding]:
    node = tool.node.entries["kind"]
    if not kind.is_run and not kind.is_run_elsewhere:
        message = f"no worker runs tool kind '{kind.name}': {_FAILS}"
        path = f"{tool.path}.kind"
        yield finding_at(node, path, "tool-not-run", message, hint=kind.instead)
    if kind.name == "workbook" and step.is_pipeline:
        message = f"workbook references are not resolved inside a pipeline: {_FAILS}"
        yield finding_at(node, f"{tool.path}.kind", "tool-not-run", message)
    for names in kind.missing(_values(tool.node)):
        wanted = " or ".join(f"'{name}'" for name in names)
        message = f"tool kind '{kind.name}' needs {wanted}: {_FAILS}"
        yield finding_at(node, tool.path, "missing-key", message)


def _values(node: MapNode) -> Mapping[str, object]:
    return {
        key: entry.value if isinstance(entry, Scalar) else entry
        for key, entry in node.entries.items()
    }


def _strangers(tool: ToolPart, kind: ToolKind, guess: Guesser) -> Iterator[Finding]:
    """Yield unknown keys that look like known ones; others may be meant for other workers."""
    if kind.is_open:
        return
    known = kind.names | LEVELS["ToolSpec"].keys.keys()
    for key in tool.node.entries:
        if key in known:
            continue
        advice = guess(key, known)
        if advice:
            message = f"unknown key '{key[:100]}' has no effect{advice}"
            yield finding_at_key(tool.node, key, tool.path, "unknown-key", message)

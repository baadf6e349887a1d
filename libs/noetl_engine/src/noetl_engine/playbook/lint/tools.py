"""Tools that can't run as they are written, and their keys without effect."""

from collections.abc import Iterator, Mapping
from typing import Final

from noetl_contract.tools import TOOLS, ToolKind

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.lint.finding import Finding, Severity
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import StepPart, ToolPart, steps_of
from noetl_engine.playbook.yaml import MapNode, Node, Scalar

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
        yield _finding("tool-not-run", message, node, f"{tool.path}.kind", hint=kind.instead)
    if kind.name == "workbook" and step.is_pipeline:
        message = f"workbook references are not resolved inside a pipeline: {_FAILS}"
        yield _finding("tool-not-run", message, node, f"{tool.path}.kind")
    for names in kind.missing(_values(tool.node)):
        wanted = " or ".join(f"'{name}'" for name in names)
        message = f"tool kind '{kind.name}' needs {wanted}: {_FAILS}"
        yield _finding("missing-key", message, node, tool.path)


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
            line, column = tool.node.places.get(key, (tool.node.line, tool.node.column))
            shown = key[:100]
            yield Finding(
                severity=Severity.WARNING,
                rule="unknown-key",
                message=f"unknown key '{shown}' has no effect{advice}",
                line=line,
                column=column,
                path=f"{tool.path}.{shown}",
            )


def _finding(rule: str, message: str, node: Node, path: str, *, hint: str | None = None) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        rule=rule,
        message=message,
        line=node.line,
        column=node.column,
        path=path,
        hint=hint,
    )

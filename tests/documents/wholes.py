"""Parts of documents, put into whole documents so that they can be read."""

import textwrap

import yaml
from fenced import Block
from noetl_engine.documents import lint_document
from noetl_engine.playbook.lint import Finding, Severity

_HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: part, path: docs/part}\n"
_NOTHING = "workflow: [{step: start, tool: {kind: noop}}]\n"
# Of a part somebody else may give the names, and lead to the steps.
_ELSEWHERE = frozenset({"undefined-name", "unreachable-step", "pool"})


def document_of(block: Block) -> str:
    """Return the text of a whole document that has the block at its place.

    Raises:
        ValueError: the place is not known.
    """
    place, _, rest = block.marks["inside"].partition(" ")
    match place:
        case "workflow":
            return f"{_HEAD}workflow:\n{_begin(block)}{textwrap.indent(block.text, '  ')}"
        case "playbook":
            whole = "" if "workflow" in yaml.safe_load(block.text) else _NOTHING
            return _HEAD + block.text + whole
        case "tool":
            tool = f"      kind: {rest}\n{textwrap.indent(block.text, '      ')}"
            return f"{_HEAD}workflow:\n  - step: start\n    tool:\n{tool}"
        case "subscription":
            head = (
                "apiVersion: noetl.io/v1\nkind: Subscription\nmetadata: {name: p, path: docs/p}\n"
            )
            spec: dict[str, object] = {
                "source": "nats",
                "mode": "pull",
                "stream": "S",
                "consumer": "c",
            }
            spec["dispatch"] = {"playbook": "docs/part"}
            missing = {
                key: value for key, value in spec.items() if key not in yaml.safe_load(block.text)
            }
            return f"{head}spec:\n{textwrap.indent(yaml.safe_dump(missing) + block.text, '  ')}"
    raise ValueError(f"{block.place}: no part of a document is called {place!r}")


def _begin(block: Block) -> str:
    """Return a first step that leads to the first one of the block, unless that is the first."""
    steps = [step["step"] for step in yaml.safe_load(block.text)]
    leads = f"{{arcs: [{{step: {steps[0]}}}]}}"
    return "" if "start" in steps else f"  - {{step: start, tool: {{kind: noop}}, next: {leads}}}\n"


def problems_of(text: str, *, is_part: bool) -> list[Finding]:
    """Return the problems and keys without effect in a document of a page."""
    allowed = _ELSEWHERE if is_part else frozenset({"pool"})
    return [
        one
        for one in lint_document(text)
        if one.severity is Severity.ERROR or one.rule not in allowed
    ]

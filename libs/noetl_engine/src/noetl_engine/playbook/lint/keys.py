"""Keys without effect: unknown ones, misplaced ones, and old ones."""

from collections.abc import Iterator
from typing import Final

from noetl_contract.tools import TOOLS

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.lint.finding import Finding, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import items_of, steps_of, text_of
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, is_null

# Where a key belongs that stands somewhere else, and how that place is called.
_HOMES: Final = (
    ("Playbook", ("workflow", "workload", "workbook", "keychain", "metadata"), "at the top level"),
    ("Step", ("step", "tool", "next", "loop", "when", "set"), "in a step"),
    ("ToolSpec", ("kind", "code", "url", "method", "query", "command", "auth"), "in 'tool'"),
    ("NextRouter", ("arcs",), "in 'next'"),
    ("LoopConfig", ("in", "iterator", "cursor"), "in 'loop'"),
    ("LoopSpec", ("max_in_flight", "frame"), "in 'loop.spec'"),
    ("NextSpec", ("on_no_match",), "in 'next.spec'"),
)  # fmt: skip
_HOME_OF: Final = {key: (level, place) for level, keys, place in _HOMES for key in keys}
# Inside open mappings any key may be data, but these are hardly ever meant as such.
_STRAYS: Final = {
    "Metadata": frozenset({"workflow", "workload", "workbook", "keychain"}),
    "ToolSpec": frozenset({"next", "loop", "step", "when", "tool"}),
}


def key_findings(root: MapNode, guess: Guesser) -> Iterator[Finding]:
    """Yield every key without effect."""
    yield from _level(guess, root, "Playbook", "")
    yield from _level(guess, root.entries.get("metadata"), "Metadata", "metadata")
    for index, item in enumerate(items_of(root.entries.get("workbook"))):
        yield from _level(guess, item, "WorkbookTask", f"workbook[{index}]")
        if isinstance(item, MapNode):
            yield from _level(
                guess, item.entries.get("tool"), "ToolSpec", f"workbook[{index}].tool"
            )
    for step in steps_of(root):
        path = step.path
        yield from _level(guess, step.node, "Step", path)
        yield from _level(guess, step.get("spec"), "StepSpec", f"{path}.spec")
        yield from _level(guess, step.get("spec", "policy"), "StepPolicy", f"{path}.spec.policy")
        yield from _level(guess, step.get("output"), "StepOutput", f"{path}.output")
        yield from _level(guess, step.get("loop"), "LoopConfig", f"{path}.loop")
        yield from _level(guess, step.get("loop", "spec"), "LoopSpec", f"{path}.loop.spec")
        yield from _level(
            guess, step.get("loop", "spec", "frame"), "Frame", f"{path}.loop.spec.frame"
        )
        yield from _level(guess, step.get("loop", "cursor"), "Cursor", f"{path}.loop.cursor")
        yield from _router(guess, step.get("next"), f"{path}.next")
        for tool in step.tools():
            yield from _level(guess, tool.node, "ToolSpec", tool.path)


def _router(guess: Guesser, router: Node | None, path: str) -> Iterator[Finding]:
    if isinstance(router, ListNode):
        for index, target in enumerate(router.items):
            yield from _level(guess, target, "Target", f"{path}[{index}]")
        return
    yield from _level(guess, router, "NextRouter", path)
    if isinstance(router, MapNode):
        yield from _level(guess, router.entries.get("spec"), "NextSpec", f"{path}.spec")
        for index, arc in enumerate(items_of(router.entries.get("arcs"))):
            yield from _level(guess, arc, "Arc", f"{path}.arcs[{index}]")


def _level(guess: Guesser, node: Node | None, name: str, path: str) -> Iterator[Finding]:
    if not isinstance(node, MapNode):
        return
    level = LEVELS[name]
    for key, value in node.entries.items():
        known = level.keys.get(key)
        if known is not None:
            if known.inert is not None and not is_null(value):
                yield finding_at_key(
                    node, key, path, "inert", f"'{key}' has no effect: {known.inert}"
                )
            continue
        finding = _stranger(guess, node, key, name, path)
        if finding is not None:
            yield finding


def _stranger(guess: Guesser, node: MapNode, key: str, name: str, path: str) -> Finding | None:
    level = LEVELS[name]
    shown = key[:100]
    home = _HOME_OF.get(key)
    is_stray = home is not None and home[0] != name
    if level.is_open and key not in _STRAYS.get(name, frozenset()) - _own_words(node):
        return None
    if is_stray and home is not None and not (name == "Step" and home[0] == "Step"):
        message = f"'{shown}' has no effect here: it belongs {home[1]}"
        return finding_at_key(
            node, key, path, "misplaced-key", message, hint="check the indentation"
        )
    message = f"unknown key '{shown}' has no effect{guess(key, level.keys)}"
    return finding_at_key(node, key, path, "unknown-key", message)


def _own_words(node: MapNode) -> frozenset[str]:
    """Return the keys of the tool's own kind."""
    kind = TOOLS.get(text_of(node, "kind") or "")
    return kind.names if kind is not None else frozenset()

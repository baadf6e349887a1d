"""Keys without effect: unknown ones, misplaced ones, and old ones."""

from collections.abc import Iterator
from typing import Final

from noetl_contract.tools import TOOLS

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.levels import level_of
from noetl_engine.playbook.lint.finding import Finding, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import StepPart, items_of, text_of
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, is_null

# Where a key belongs that stands somewhere else, and how that place is called.
_HOMES: Final = (
    ("Playbook", ("workflow", "workload", "workbook", "keychain", "metadata"), "at the top level"),
    ("Step", ("step", "tool", "next", "loop", "when", "set"), "in a step"),
    ("ToolSpec", ("kind", "code", "url", "method", "query", "command", "auth", "headers", "params"),
     "in 'tool'"),
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
    for node, level, path in _mappings(root, "Playbook", ""):
        yield from _level(guess, node, level, path)


def _mappings(node: Node | None, level: str, path: str) -> Iterator[tuple[MapNode, str, str]]:
    """Yield the mappings of a document with their level, as the language links them."""
    if level == "NextRouter" and isinstance(node, ListNode):
        yield from _items(node, "Target", path)
    if not isinstance(node, MapNode):
        return
    yield node, level, path
    if level == "Step":
        for tool in StepPart(node, "", path).tools():
            yield from _mappings(tool.node, "ToolSpec", tool.path)
    for key, known in LEVELS[level].keys.items():
        value, place = node.entries.get(key), f"{path}.{key}" if path else key
        target, item = level_of(known.schema), level_of(known.schema.get("items"))
        if target is not None:
            yield from _mappings(value, target, place)
        elif item is not None:
            yield from _items(value, item, place)


def _items(node: Node | None, level: str, path: str) -> Iterator[tuple[MapNode, str, str]]:
    for index, item in enumerate(items_of(node)):
        yield from _mappings(item, level, f"{path}[{index}]")


def _level(guess: Guesser, node: MapNode, name: str, path: str) -> Iterator[Finding]:
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

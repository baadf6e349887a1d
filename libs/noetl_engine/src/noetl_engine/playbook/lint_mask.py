"""Replacing what the parser refused by something harmless, as little as possible."""

import re
from typing import Final

from noetl_engine.playbook.lint_place import node_at
from noetl_engine.playbook.model import Problem
from noetl_engine.playbook.yaml_dialect import ListNode, MapNode, Node, Scalar

__all__ = ["mask"]

_MISSING: Final = re.compile(r"missing field `(\w+)`")
_LAST: Final = re.compile(r"(.*?)\.?([^.\[\]]+|\[\d+\])", re.DOTALL)


def mask(root: MapNode, problem: Problem) -> bool:
    """Change the document so that this problem goes away; whether that worked."""
    missing = _MISSING.search(problem.message)
    if missing is not None:
        node = node_at(root, problem.path) if problem.path else root
        return isinstance(node, MapNode) and _put(node, missing[1], problem.path)
    if "workbook action" in problem.message or "tool.kind=workbook" in problem.message:
        return _mask_value(root, problem.path)
    if "'case' blocks are not allowed" in problem.message:
        return _drop(root, problem.path, "case")
    if "untagged enum ToolDefinition" in problem.message:
        return _mask_tool(root, problem)
    if "untagged enum NextSpec" in problem.message:
        return _mask_router(root, problem)
    # A broken rule has no place of its own in its message, a wrong shape has.
    return problem.message.startswith(f"{problem.path}: ") and _mask_value(root, problem.path)


def _put(node: MapNode, key: str, path: str) -> bool:
    node.entries[key] = _harmless(key, path, node)
    return True


def _harmless(key: str, path: str, place: Node) -> Node:
    """A value that any playbook accepts under a key."""
    line, column = place.line, place.column
    match key:
        case "apiVersion":
            return _text("noetl.io/v2", place)
        case "kind":
            return _text("noop" if path else "Playbook", place)
        case "metadata":
            return MapNode(line=line, column=column, entries={"name": _text("?", place)})
        case "workflow":
            return ListNode(line=line, column=column)
        case "tool":
            return MapNode(line=line, column=column, entries={"kind": _text("noop", place)})
        case _:
            return _text(path or "?", place)


def _text(text: str, place: Node) -> Scalar:
    return Scalar(line=place.line, column=place.column, text=text, value=text)


def _drop(root: MapNode, path: str, key: str) -> bool:
    node = node_at(root, path)
    return isinstance(node, MapNode) and node.entries.pop(key, None) is not None


def _mask_tool(root: MapNode, problem: Problem) -> bool:
    step = node_at(root, problem.path)
    if not isinstance(step, MapNode) or "tool" not in step.entries:
        return False
    tool = step.entries["tool"]
    if (problem.hint or "").startswith("unknown tool kind") and _mask_kind(tool, problem):
        return True
    items = tool.items if isinstance(tool, ListNode) else []
    for index, item in enumerate(items):
        if _contains(item, problem):
            items[index] = _harmless("tool", problem.path, item)
            return True
    return _put(step, "tool", problem.path)


def _mask_kind(node: Node, problem: Problem) -> bool:
    if isinstance(node, ListNode):
        return any(_mask_kind(item, problem) for item in node.items)
    if not isinstance(node, MapNode):
        return False
    kind = node.entries.get("kind")
    if kind is not None and (kind.line, kind.column) == (problem.line, problem.column):
        node.entries["kind"] = _text("noop", kind)
        return True
    return any(_mask_kind(entry, problem) for entry in node.entries.values())


def _mask_router(root: MapNode, problem: Problem) -> bool:
    step = node_at(root, problem.path)
    if not isinstance(step, MapNode):
        return False
    router = step.entries.get("next")
    arcs = router.entries.get("arcs") if isinstance(router, MapNode) else router
    items = arcs.items if isinstance(arcs, ListNode) else []
    for index, item in enumerate(items):
        if _contains(item, problem):
            del items[index]
            return True
    return step.entries.pop("next", None) is not None


def _contains(node: Node, problem: Problem) -> bool:
    if (node.line, node.column) == (problem.line, problem.column):
        return True
    match node:
        case ListNode(items=items):
            return any(_contains(item, problem) for item in items)
        case MapNode(entries=entries):
            return any(_contains(entry, problem) for entry in entries.values())
        case _:
            return False


def _mask_value(root: MapNode, path: str) -> bool:
    """Replace or drop the value at a path."""
    match = _LAST.fullmatch(path)
    if match is None:
        return False
    above, last = match.groups()
    parent = node_at(root, above) if above else root
    if last.startswith("["):
        index = int(last[1:-1])
        if not isinstance(parent, ListNode) or index >= len(parent.items):
            return False
        parent.items[index] = _item(above, path, parent.items[index])
        return True
    if not isinstance(parent, MapNode) or last not in parent.entries:
        return False
    if last in _NEEDED:
        return _put(parent, last, above)
    del parent.entries[last]
    return True


_NEEDED: Final = frozenset(
    {"apiVersion", "kind", "metadata", "workflow", "step", "tool", "name", "iterator"}
)


def _item(above: str, path: str, place: Node) -> Node:
    """A step, keychain entry or workbook task that says nothing."""
    keys = {"workflow": ("step", "tool"), "workbook": ("name", "tool")}.get(above, ("name",))
    entries = {key: _harmless(key, path, place) for key in keys}
    return MapNode(line=place.line, column=place.column, entries=entries)

"""Where exactly something refused stands, when the parser names only the step around it."""

import re
from collections.abc import Iterator
from typing import Final

from noetl_engine.playbook.lint_walk import ArcPart, StepPart, items_of, text_of
from noetl_engine.playbook.model import Problem
from noetl_engine.playbook.yaml_dialect import MapNode, Node

__all__ = ["node_at", "place_of"]

_UNKNOWN_STEP: Final = re.compile(r"references unknown step '(.*)' in next")
_ARC_GUARD: Final = re.compile(r"next(?:\.arcs)?\[\]\.when has invalid expression: (.*)", re.DOTALL)
_STEP_KEY: Final = {
    "invalid 'when' expression": ("when",),
    "loop.in has invalid expression": ("loop", "in"),
    "loop.iterator must not": ("loop", "iterator"),
    "loop.spec.mode=cursor": ("loop",),
    "loop requires `in:`": ("loop",),
    "pipeline task": ("tool",),
    "tool pipeline": ("tool",),
    "Duplicate step name": ("step",),
}
_STEP_PATH: Final = re.compile(r"workflow\[\d+\]")
_PART: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def place_of(problem: Problem, root: Node, used: set[tuple[str, int, int]]) -> tuple[int, int]:
    """Line and column of a problem.

    Args:
        problem: What the parser said.
        root: The document.
        used: Messages with the places they were given before: of two equal ones the second
            belongs to the next place.
    """
    for node in _candidates(problem, root):
        if (problem.message, node.line, node.column) not in used:
            return node.line, node.column
    return problem.line or 1, problem.column or 1


def _candidates(problem: Problem, root: Node) -> Iterator[Node]:
    if not isinstance(root, MapNode):
        return
    step = step_at(root, problem.path)
    if step is not None:
        yield from _in_step(problem.message, step)
    elif problem.line is None or problem.path.endswith(".tool"):
        node = node_at(root, problem.path)
        if node is not None:
            yield node


def step_at(root: MapNode, path: str) -> StepPart | None:
    """The step a path names, nothing for paths of anything else."""
    if _STEP_PATH.fullmatch(path) is None:
        return None
    node = node_at(root, path)
    name = text_of(node, "step")
    return StepPart(node, name, path) if isinstance(node, MapNode) and name is not None else None


def _in_step(message: str, step: StepPart) -> Iterator[Node]:
    unknown = _UNKNOWN_STEP.search(message)
    guard = _ARC_GUARD.search(message)
    for arc in step.arcs():
        if unknown is not None and arc.target == unknown[1]:
            yield _target_of(arc)
        when = arc.get("when")
        if guard is not None and when is not None and getattr(when, "text", None) == guard[1]:
            yield when
    for words, keys in _STEP_KEY.items():
        if words in message:
            node = step.get(*keys)
            if node is not None:
                yield node


def _target_of(arc: ArcPart) -> Node:
    return arc.get("step") or arc.node


def node_at(root: Node, path: str) -> Node | None:
    """The node a dotted path leads to."""
    node: Node | None = root
    for key, index in _PART.findall(path):
        if key:
            node = node.entries.get(key) if isinstance(node, MapNode) else None
        else:
            items = items_of(node)
            node = items[int(index)] if int(index) < len(items) else None
    return node

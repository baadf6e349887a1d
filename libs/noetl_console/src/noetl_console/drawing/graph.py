"""The steps of a playbook as a picture: boxes in rows, arrows between them.

A step stands below all that lead to it, but for the arrows that go back. The drawing is plain SVG
without styles of its own, so that a page may forbid them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from noetl_contract.json import Json

MOST_STEPS = 150
"""Steps beyond which a picture shows nothing that a list would not."""

_WIDTH, _HEIGHT = 168, 34
_GAP_X, _GAP_Y = 24, 34
_MARGIN = 8
_LONGEST_NAME = 22


@dataclass(frozen=True, slots=True)
class Node:
    """One step: its name, what it does, its state, and its box in pixels."""

    name: str
    label: str
    kind: str
    state: str
    x: int
    y: int
    width: int = _WIDTH
    height: int = _HEIGHT


@dataclass(frozen=True, slots=True)
class Edge:
    """One arrow, as the path of an SVG; ``condition`` is its guard."""

    path: str
    condition: str
    is_back: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A picture, in pixels."""

    width: int
    height: int
    nodes: Sequence[Node]
    edges: Sequence[Edge]


def draw_graph(layout: Json, states: Mapping[str, str]) -> Graph | None:
    """Return the picture of a playbook's steps; None without steps, or with too many.

    Args:
        layout: the steps as the catalog shows them.
        states: the state of each step that has begun.
    """
    steps = _steps(layout)
    if not steps or len(steps) > MOST_STEPS:
        return None
    names = [name for name, _ in steps]
    arcs = [
        (name, target, condition)
        for name, step in steps
        for target, condition in _targets(step)
        if target in set(names)
    ]
    rows = _rows(names, [(source, target) for source, target, _ in arcs])
    places = _places(names, rows)
    nodes = [
        Node(
            name,
            name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…",
            _kind(step),
            states.get(name, "PENDING"),
            *places[name],
        )
        for name, step in steps
    ]
    edges = [
        _edge(places[source], places[target], condition, is_back=rows[source] >= rows[target])
        for source, target, condition in arcs
    ]
    width = max(node.x for node in nodes) + _WIDTH + _MARGIN + _GAP_X
    height = max(node.y for node in nodes) + _HEIGHT + _MARGIN
    return Graph(width, height, nodes, edges)


def _steps(layout: Json) -> list[tuple[str, Mapping[str, Json]]]:
    """Return the named steps; of several of a name the first counts."""
    found: dict[str, Mapping[str, Json]] = {}
    for step in layout if isinstance(layout, list) else []:
        if isinstance(step, dict) and isinstance(step.get("step"), str):
            found.setdefault(str(step["step"]), step)
    return list(found.items())


def _targets(step: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    following = step.get("next")
    arcs = following.get("arcs", following) if isinstance(following, dict) else following
    for arc in arcs if isinstance(arcs, list) else [arcs]:
        if isinstance(arc, str):
            yield arc, ""
        elif isinstance(arc, dict) and isinstance(arc.get("step"), str):
            condition = arc.get("when")
            yield str(arc["step"]), "" if condition is None else str(condition)


def _kind(step: Mapping[str, Json]) -> str:
    tool = step.get("tool")
    if isinstance(tool, list):
        kind = f"{len(tool)} tasks"
    elif isinstance(tool, dict):
        kind = str(tool.get("kind") or tool.get("type") or "")
    else:
        kind = ""
    return f"loop · {kind}" if step.get("loop") else kind


def _rows(names: Sequence[str], arcs: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the row of each step: one below the lowest of those that lead to it."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in arcs:
        after[source].append(target)
    forward = _forward(names, after)
    rows = dict.fromkeys(names, 0)
    for name in _ordered(names, forward):
        for target in forward[name]:
            rows[target] = max(rows[target], rows[name] + 1)
    return rows


def _forward(names: Sequence[str], after: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Leave out the arrows that close a circle, seen from the first step on."""
    forward: dict[str, list[str]] = {name: [] for name in names}
    done: set[str] = set()
    for first in names:
        if first in done:
            continue
        on_path = {first}
        stack = [(first, iter(after[first]))]
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                stack.pop()
                on_path.discard(name)
                done.add(name)
            elif target not in on_path:
                forward[name].append(target)
                if target not in done:
                    on_path.add(target)
                    stack.append((target, iter(after[target])))
    return forward


def _ordered(names: Sequence[str], forward: Mapping[str, Sequence[str]]) -> list[str]:
    waiting = dict.fromkeys(names, 0)
    for targets in forward.values():
        for target in targets:
            waiting[target] += 1
    ready = [name for name in names if not waiting[name]]
    ordered = []
    while ready:
        name = ready.pop(0)
        ordered.append(name)
        for target in forward[name]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return ordered


def _places(names: Sequence[str], rows: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return the upper left corner of each box; a row is centred below the widest."""
    by_row: dict[int, list[str]] = {}
    for name in names:
        by_row.setdefault(rows[name], []).append(name)
    widest = max(len(row) for row in by_row.values())
    places = {}
    for number, row in by_row.items():
        left = (widest - len(row)) * (_WIDTH + _GAP_X) // 2
        for place, name in enumerate(row):
            x = _MARGIN + left + place * (_WIDTH + _GAP_X)
            places[name] = (x, _MARGIN + number * (_HEIGHT + _GAP_Y))
    return places


def _edge(
    source: tuple[int, int], target: tuple[int, int], condition: str, *, is_back: bool
) -> Edge:
    from_x, from_y = source[0] + _WIDTH // 2, source[1] + _HEIGHT
    to_x, to_y = target[0] + _WIDTH // 2, target[1]
    if not is_back:
        middle = (from_y + to_y) // 2
        path = f"M{from_x} {from_y} C{from_x} {middle} {to_x} {middle} {to_x} {to_y - 2}"
        return Edge(path, condition, is_back=False)
    # Around the right side, so that it crosses no box of its own column.
    right, side_from, side_to = (
        max(source[0], target[0]) + _WIDTH + _GAP_X // 2,
        source[1] + _HEIGHT // 2,
        target[1] + _HEIGHT // 2,
    )
    path = (
        f"M{source[0] + _WIDTH} {side_from} C{right + 12} {side_from}"
        f" {right + 12} {side_to} {target[0] + _WIDTH + 2} {side_to}"
    )
    return Edge(path, condition, is_back=True)

"""The graph of a playbook, computed once: arcs, joins, cycles and reachability (R3 to R7)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from noetl_engine.playbook.model import START_STEP, Playbook

_KEPT_GRAPHS = 512

# `event` as a name of its own: not an attribute, not inside a string.
_STRINGS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_EVENT = re.compile(r"(?<![\w.])event(?!\w)")


@dataclass(frozen=True, slots=True)
class Graph:
    """Arcs classified by one depth-first search from ``start`` in list order.

    Attributes:
        targets: Targets of each step's arcs, in list order.
        back: Arcs (source, index) to a step on the search's path, itself included.
        rank: Forward order: reverse postorder of the search; only steps it reaches.
        upstream: Sources of forward arcs into a step.
        joins: Steps with forward arcs from more than one step.
        component: The strongly connected component of a step, in playbook order.
        on_cycle: Steps that can reach themselves.
        error_arcs: Indexes of a step's arcs whose guard names ``event``.
    """

    targets: dict[str, tuple[str, ...]]
    back: frozenset[tuple[str, int]]
    rank: dict[str, int]
    upstream: dict[str, frozenset[str]]
    joins: frozenset[str]
    component: dict[str, tuple[str, ...]]
    on_cycle: frozenset[str]
    error_arcs: dict[str, tuple[int, ...]]
    _behind: dict[str, frozenset[str]] = field(default_factory=dict)

    def behind(self, step: str) -> frozenset[str]:
        """Return every step reachable from this one over forward arcs (R7's blocked steps)."""
        known = self._behind.get(step)
        if known is None:
            known = self._behind[step] = frozenset(self._walk_forward(step))
        return known

    def _walk_forward(self, step: str) -> set[str]:
        found: set[str] = set()
        pending = [step]
        while pending:
            source = pending.pop()
            for index, target in enumerate(self.targets[source]):
                if target not in found and (source, index) not in self.back:
                    found.add(target)
                    pending.append(target)
        return found

    def blocked(self, failed: Iterable[str]) -> frozenset[str]:
        """Return the steps that may no longer be dispatched."""
        return frozenset().union(*(self.behind(step) for step in failed))

    def live(
        self, seeds: Iterable[str], *, blocked: frozenset[str], without: str | None = None
    ) -> set[str]:
        """Return the seeds and all that can be reached from them over any arc (R3)."""
        found = {seed for seed in seeds if seed != without}
        pending = list(found)
        targets = self.targets
        while pending:
            for target in targets[pending.pop()]:
                if target not in found and target != without and target not in blocked:
                    found.add(target)
                    pending.append(target)
        return found


_graphs: dict[int, tuple[Playbook, Graph]] = {}


def graph_of(playbook: Playbook) -> Graph:
    """Return the graph of a playbook; the newest ones are kept as long as they are used."""
    # By identity: a playbook can't be hashed, and holding it keeps its id from being reused.
    kept = _graphs.get(id(playbook))
    if kept is not None:
        return kept[1]
    graph = _build(playbook)
    if len(_graphs) >= _KEPT_GRAPHS:
        _graphs.pop(next(iter(_graphs)), None)
    _graphs[id(playbook)] = (playbook, graph)
    return graph


def _build(playbook: Playbook) -> Graph:
    targets = {
        name: tuple(arc.target for arc in step.arcs) for name, step in playbook.steps.items()
    }
    back, postorder = _walk(START_STEP, targets, set())
    upstream: dict[str, set[str]] = {}
    for source in postorder:
        for index, target in enumerate(targets[source]):
            if (source, index) not in back:
                upstream.setdefault(target, set()).add(source)
    component = _components(targets)
    return Graph(
        targets=targets,
        back=frozenset(back),
        rank={name: rank for rank, name in enumerate(reversed(postorder))},
        upstream={name: frozenset(sources) for name, sources in upstream.items()},
        joins=frozenset(name for name, sources in upstream.items() if len(sources) > 1),
        component=component,
        on_cycle=frozenset(
            name for name in targets if len(component[name]) > 1 or name in targets[name]
        ),
        error_arcs={
            name: tuple(
                index for index, arc in enumerate(step.arcs) if arc.when and names_event(arc.when)
            )
            for name, step in playbook.steps.items()
        },
    )


def names_event(guard: str) -> bool:
    """Return whether a guard uses the name ``event``."""
    return _EVENT.search(_STRINGS.sub("''", guard)) is not None


def _walk(
    root: str, targets: dict[str, tuple[str, ...]], seen: set[str]
) -> tuple[set[tuple[str, int]], list[str]]:
    """Depth-first over steps not seen yet: the arcs to steps on the path, and the postorder."""
    back: set[tuple[str, int]] = set()
    postorder: list[str] = []
    seen.add(root)
    path = {root}
    stack: list[tuple[str, Iterator[tuple[int, str]]]] = [(root, iter(enumerate(targets[root])))]
    while stack:
        source, arcs = stack[-1]
        for index, target in arcs:
            if target in path:
                back.add((source, index))
            elif target not in seen:
                seen.add(target)
                path.add(target)
                stack.append((target, iter(enumerate(targets[target]))))
                break
        else:
            stack.pop()
            path.discard(source)
            postorder.append(source)
    return back, postorder


def _components(targets: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Strongly connected components, by Kosaraju's two walks without recursion."""
    order: list[str] = []
    seen: set[str] = set()
    for root in targets:
        if root not in seen:
            order += _walk(root, targets, seen)[1]
    sources: dict[str, list[str]] = {name: [] for name in targets}
    for source, reached in targets.items():
        for target in reached:
            sources[target].append(source)
    component: dict[str, tuple[str, ...]] = {}
    rank = {name: index for index, name in enumerate(targets)}
    for root in reversed(order):
        if root in component:
            continue
        members = {root}
        pending = [root]
        while pending:
            for source in sources[pending.pop()]:
                if source not in members and source not in component:
                    members.add(source)
                    pending.append(source)
        ordered = tuple(sorted(members, key=rank.__getitem__))
        component.update(dict.fromkeys(members, ordered))
    return component

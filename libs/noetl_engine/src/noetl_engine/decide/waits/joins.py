"""Joins that wait, for the answer to why an execution stands still."""

from dataclasses import dataclass

from noetl_engine.decide.graph import Graph, graph_of
from noetl_engine.playbook.model import Playbook
from noetl_engine.state.model import State

_MOST_JOINS = 20


@dataclass(frozen=True, slots=True)
class WaitingJoin:
    """A join with an arrival that may get others yet (R3).

    Attributes:
        arrived: Steps whose arcs have led to it.
        awaited: Open steps from which others may; they are what it waits for.
        position: In the log, of the first result that led to it; 0 when that is not known.
    """

    step: str
    arrived: tuple[str, ...]
    awaited: tuple[str, ...]
    position: int


def waiting_joins(state: State, playbook: Playbook) -> list[WaitingJoin]:
    """Return the first joins that wait, in the order in which something arrived there."""
    if state.ended:
        return []
    graph = graph_of(playbook)
    sources = _sources(graph)
    blocked = graph.blocked(state.failed)
    found = []
    for name in list(state.waiting)[:_MOST_JOINS]:
        arrived = tuple(dict.fromkeys(arrival.source for arrival in state.step(name).arrivals))
        missing = graph.upstream.get(name, frozenset()) - set(arrived)
        behind = _before(missing, sources, blocked=blocked, join=name)
        results = [ref.last for one in arrived if (ref := state.step(one).result) is not None]
        awaited = tuple(one for one in state.running if one in behind)
        found.append(WaitingJoin(name, arrived, awaited, min(results, default=0)))
    return found


def _sources(graph: Graph) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for name, targets in graph.targets.items():
        for target in targets:
            sources.setdefault(target, []).append(name)
    return sources


def _before(
    steps: frozenset[str], sources: dict[str, list[str]], *, blocked: frozenset[str], join: str
) -> set[str]:
    """Return the steps and all from which they can be reached, but not through the join."""
    found, pending = set(steps), list(steps)
    while pending:
        step = pending.pop()
        if step in blocked:
            continue  # what is blocked may run to its end, but is not entered any more
        for source in sources.get(step, ()):
            if source != join and source not in found:
                found.add(source)
                pending.append(source)
    return found

"""Description of a peer: its name, its work for each step, and how it is measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Level:
    """Ten-step flows, so many at once.

    Attributes:
        ms: the median time of a flow, divided by its steps.
        rate: steps a second.
    """

    at_once: int
    ms: float
    rate: float


@dataclass(frozen=True)
class Peer:
    """A system that can run the flow.

    Attributes:
        per_step: what it does for each step.
        has_hop: whether a step runs in another process than the flow, as ours do.
        measure: takes a folder of its own and ``(at once, flows)`` by level.
    """

    name: str
    per_step: str
    has_hop: bool
    measure: Callable[[Path, list[tuple[int, int]]], Iterator[Level]]

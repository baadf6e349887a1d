"""Every state that a world can come to, breadth first, and what is wrong with some."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter

import owner_steps as owner
import worker_steps as worker
from worlds import (
    SHIPPED,
    Answer,
    Bounds,
    Hint,
    Input,
    Owner,
    Rules,
    World,
    first_world,
    with_worker,
)

type Moves = Iterator[tuple[str, World]]

MOST = 2_000_000
"""States of a world that are looked at; what there is room for in memory."""


@dataclass(slots=True)
class Exploration:
    """Findings of one exploration.

    Attributes:
        states: how many there are, or were looked at.
        moves: how many steps lead from one to another.
        is_whole: all were looked at.
        broken: the invariant that is broken first, "" for none.
        trace: the steps that lead there.
        seconds: how long it took.
    """

    states: int = 0
    moves: int = 0
    is_whole: bool = False
    broken: str = ""
    trace: list[str] = field(default_factory=list)
    depth: int = 0
    seconds: float = 0.0


def moves(world: World, *, bounds: Bounds, rules: Rules) -> Moves:
    """Yield the steps that come by themselves: of these one is always possible until the end."""
    seen_owners = set()
    for place, one in enumerate(world.owners):
        if one not in seen_owners:  # owners are alike
            seen_owners.add(one)
            yield from owner.owner_moves(world, place, bounds=bounds, rules=rules)
    for place, one in enumerate(world.workers):
        yield from worker.worker_moves(world, place, bounds=bounds, rules=rules)
        if one.is_silent:
            heard = with_worker(world, place, one._replace(is_silent=False))
            yield f"worker {place} is heard again", heard
    yield from owner.sweeps(world, bounds=bounds, rules=rules)
    if len(world.owners) > 1 and not bounds.is_split:
        yield from owner.clashes(world)
    cancel = Input("cancel")
    is_said = cancel in world.net or any(cancel in owner.inputs_of(one) for one in world.owners)
    if world.cancel == "wanted" and not is_said:
        yield "somebody cancels", world._replace(net=world.net | {cancel})


def faults(world: World, *, rules: Rules) -> Moves:
    """Yield what may go wrong, as often as it still may."""
    if not any(world.faults):
        return
    is_publishing = any(step.name == "publish" for one in world.owners for step in one.todo)
    if not (is_publishing and rules.publishes_at_once):
        yield from _new_connections(world)
    left = world.faults
    for place, one in enumerate(world.workers):
        if left.silence and one.runs and not one.is_silent:
            yield f"worker {place} falls silent", _less(worker.silenced(world, place), "silence")
    for place, one in enumerate(world.owners):
        yield from _of_owner(world, place, one)
    if left.redelivery:
        for stored in world.ingress:
            found = owner.given_back(world, [owner.repeated(stored)])
            yield "an owner takes too long with what it has read", _less(found, "redelivery")
    if left.drop:
        for message in world.net:
            if not isinstance(message, Hint):
                found = world._replace(net=world.net - {message})
                yield f"lost: {_shown(message)}", _less(found, "drop")


def _new_connections(world: World) -> Moves:
    """Yield what has a worker connect anew."""
    left = world.faults
    for place, one in enumerate(world.workers):
        if left.worker_crash and (one.runs or one.knows_end or Hint(place) in world.net):
            yield f"worker {place} is killed", _less(worker.crashed(world, place), "worker_crash")
        if left.worker_loss and one.runs and sum(not other.is_down for other in world.workers) > 1:
            found = worker.crashed(world, place, is_lost=True)
            yield f"worker {place} is killed for good", _less(found, "worker_loss")
        if left.cut:
            yield f"worker {place} is cut off", _less(worker.cut(world, place), "cut")
    if left.broker_crash:
        yield "the broker is killed", _less(worker.broker_crashed(world), "broker_crash")


def _of_owner(world: World, place: int, one: Owner) -> Moves:
    left = world.faults
    given = tuple(owner.inputs_of(one))
    if left.owner_crash and (given or one.todo):
        yield f"owner {place} is killed", _less(owner.crashed(world, place), "owner_crash")
    if left.redelivery:
        for stored in given:
            if stored.is_stored:
                found = owner.given_back(world, [owner.repeated(stored)])
                yield f"owner {place} takes too long", _less(found, "redelivery")
    if left.unknown_commit and any(step.answers for step in one.todo):
        held = owner.given_back(world, map(owner.repeated, given))
        found = owner.with_owner(held, place, Owner())
        name = f"owner {place} does not learn that it has committed"
        yield name, _less(found, "unknown_commit")


def _less(world: World, fault: str) -> World:
    left = world.faults
    return world._replace(faults=left._replace(**{fault: getattr(left, fault) - 1}))


def _shown(message: Input | Answer) -> str:
    if isinstance(message, Input):
        return f"the {message.kind} of c{message.command}"
    return f"the answer to the {message.kind} of c{message.command}"


def wrong_with(world: World) -> str:
    """Return the invariant that a state breaks, "" for none."""
    log = world.log
    if world.broken:
        return world.broken
    if log.rows != log.position:
        return f"{log.rows} rows have positions up to {log.position}"
    for number, entry in enumerate(log.commands):
        if entry.done > 1:
            return f"{entry.done} outcomes of c{number} counted"
    return ""


def is_settled(world: World) -> bool:
    """Return whether the execution is over, and everybody knows what he has asked for."""
    return (
        world.log.status != "running"
        and world.cancel != "wanted"
        and not any(one.runs for one in world.workers)
    )


class _Graph:
    """The states that were seen, by their numbers, and the steps between them.

    States are told apart by their hash of 64 bits.
    """

    def __init__(self, first: World) -> None:
        self._numbers = {hash(first): 0}
        self._keys, self._parents = array("q", [hash(first)]), array("L", [0])
        self._froms, self._tos = array("L"), array("L")

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, world: World, parent: int) -> tuple[int, bool]:
        """Return the number of a state, and whether it is new."""
        key = hash(world)
        known = self._numbers.get(key)
        if known is not None:
            return known, False
        number = self._numbers[key] = len(self._keys)
        self._keys.append(key)
        self._parents.append(parent)
        return number, True

    def join(self, number: int, following: int) -> None:
        """Note a step that comes by itself."""
        self._froms.append(number)
        self._tos.append(following)

    def trace(self, number: int, first: World, *, bounds: Bounds, rules: Rules) -> list[str]:
        """Return the shortest way to a state, by going it."""
        way = []
        while number:
            way.append(self._keys[number])
            number = self._parents[number]
        names, world = [], first
        for key in reversed(way):
            steps = chain(
                moves(world, bounds=bounds, rules=rules),
                faults(world, rules=rules),
            )
            # Tidied, and with its owners in their places, for the names of the steps.
            name, world = next(
                (name, owner.tidy(after)) for name, after in steps if hash(canonical(after)) == key
            )
            names.append(name)
        return names

    def without_an_end(self, settled: list[int]) -> int | None:
        """Return the first state from which no steps lead to a settled one, if there is one."""
        before = [array("L") for _ in self._keys]
        for one, other in zip(self._froms, self._tos, strict=True):
            before[other].append(one)
        reached = bytearray(len(self._keys))
        todo = list(settled)
        for number in todo:
            reached[number] = 1
        while todo:
            for number in before[todo.pop()]:
                if not reached[number]:
                    reached[number] = 1
                    todo.append(number)
        lost = reached.find(0)
        return None if lost < 0 else lost


def canonical(world: World) -> World:
    """Return what stands for all worlds that differ in nothing that matters."""
    world = owner.tidy(world)
    if len(world.owners) > 1:
        owners = tuple(sorted(world.owners, key=hash))
        if owners != world.owners:
            return world._replace(owners=owners)
    return world


def explore(
    bounds: Bounds, rules: Rules = SHIPPED, *, most: int = MOST, ends: bool = True
) -> Exploration:
    """Look at every state, or at so many.

    With ``ends`` also whether each leads to the end by steps that come by themselves.
    """
    begun = perf_counter()
    found = Exploration()
    first = first_world(bounds)
    graph = _Graph(first)
    settled: list[int] = []
    layer = [(0, first)]
    wrong: tuple[str, int] | None = None
    while layer and wrong is None and found.states < most:
        following: list[tuple[int, World]] = []
        for number, world in layer:
            broken = wrong_with(world)
            if not broken:
                found.states += 1
                if is_settled(world):
                    settled.append(number)
                is_stuck = _expand(
                    graph, number, world, following, found, bounds=bounds, rules=rules, ends=ends
                )
                if is_stuck and not is_settled(world):
                    broken = "nothing more happens, and the execution has not come to its end"
            if broken:
                wrong = broken, number
                break
        layer = following
        found.depth += bool(layer)
    found.is_whole = not layer and wrong is None
    if found.is_whole and ends:
        lost = graph.without_an_end(settled)
        if lost is not None:
            wrong = "from here no step leads to the end", lost
    if wrong is not None:
        found.broken, number = wrong
        found.trace = graph.trace(number, first, bounds=bounds, rules=rules)
    found.seconds = perf_counter() - begun
    return found


def _expand(
    graph: _Graph,
    number: int,
    world: World,
    following: list[tuple[int, World]],
    found: Exploration,
    *,
    bounds: Bounds,
    rules: Rules,
    ends: bool,
) -> bool:
    """Add the states behind one; return whether nothing happens by itself."""
    is_stuck = True
    for is_fault, steps in (
        (False, moves(world, bounds=bounds, rules=rules)),
        (True, faults(world, rules=rules)),
    ):
        for _, after in steps:
            next_world = canonical(after)
            if next_world == world:
                continue
            is_stuck = is_stuck and is_fault
            found.moves += 1
            known, is_new = graph.add(next_world, number)
            if is_new:
                following.append((known, next_world))
            if ends and not is_fault:
                graph.join(number, known)
    return is_stuck

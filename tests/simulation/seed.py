"""Runs one seed: its world, its work, its troubles, and what is wrong in the end."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from noetl_worker.commands import Command

from tests.simulation import invariants, playbooks
from tests.simulation.database import Server
from tests.simulation.plan import Plan, Start
from tests.simulation.troubles import foretell
from tests.simulation.world import World

QUIET_SECONDS = 200.0
"""After the last trouble everything has to have ended within this time."""
_LOOK_SECONDS = 0.5
_TRIES = 60


@dataclass
class Answered:
    """A start as its client saw it."""

    wanted: Start
    execution_ids: list[int] = field(default_factory=list)
    """Each try has an id of its own."""
    statuses: list[int] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)
    """Ids of answers with 200."""
    refused: list[int] = field(default_factory=list)
    """Ids of tries that were answered with 503."""
    cancelled_at: float | None = None
    is_done: bool = False


@dataclass
class Result:
    """Outcome of a seed."""

    plan: Plan
    findings: list[str]
    trace: list[tuple[float, str]]
    fingerprint: str
    seconds: float
    steps: int
    began: float


def prepare(server: Server) -> dict[str, tuple[int, str]]:
    """Register the playbooks, once for all worlds; return catalog id and path by name."""
    world = World(server, 0)
    if not world.begin():
        raise RuntimeError(f"the first world does not start: {world.universe.trace[-10:]}")
    found: dict[str, tuple[int, str]] = {}

    async def register() -> None:
        for name, text in playbooks.ALL.items():
            found[name] = await world.edge.register(text)

    done: list[Any] = []
    world.in_edge(register, done.append)
    if not world.universe.run(60.0, lambda: bool(done)):
        raise RuntimeError("the playbooks were not registered")
    world.close()
    server.now(server.empty("noetl.catalog", "noetl.resource"))
    server.keep_filled()
    return found


def run(server: Server, plan: Plan, registered: dict[str, tuple[int, str]]) -> Result:
    """Run a plan."""
    world = World(server, plan.seed)
    world.slowness = plan.slowness
    chance = Random(f"tools of {plan.seed}")
    low, high = plan.tool_seconds

    def seconds_of(_command: Command) -> float:
        return low + (high - low) * chance.random() ** 2

    world.tool_seconds = seconds_of
    answered = [Answered(start) for start in plan.starts]
    findings: list[str] = []
    try:
        is_there = world.begin(
            orchestrators=plan.orchestrators,
            workers=plan.workers,
            slots=plan.slots,
            projector=plan.projector,
            ingress=plan.ingress,
        )
        if not is_there:
            findings.append("the processes did not start")
        began = world.universe.now
        for one in answered:
            world.universe.at(began + one.wanted.at, lambda one=one: _start(world, one, registered))
        for trouble in plan.acting:
            foretell(world, trouble, began + trouble.at)
        watch = invariants.Watch(world)
        server.on_commit = watch.after_commit
        if is_there:
            _until_quiet(world, plan, answered, began, watch)
            findings += watch.findings + invariants.at_the_end(world, plan, answered, began)
    finally:
        server.on_commit = None
        world.close()
    result = Result(
        plan, findings, world.universe.trace, world.fingerprint(), world.universe.now,
        world.universe.steps, began,
    )  # fmt: skip
    server.now(server.empty())
    return result


def _until_quiet(
    world: World, plan: Plan, answered: list[Answered], began: float, watch: invariants.Watch
) -> None:
    universe = world.universe
    last = max([began, *(began + t.until for t in plan.acting if t.kind != "clock")])
    bound = max(last, began + 10.0) + QUIET_SECONDS
    while universe.now < bound and not watch.findings:
        universe.run(universe.now + _LOOK_SECONDS)
        if (
            universe.now >= last
            and all(one.is_done for one in answered)
            and world.all_alive()
            and invariants.is_quiet(world, projector=plan.projector)
        ):
            # What is delivered again comes after half a minute.
            late = 36.0 if plan.seed % 3 == 0 and plan.troubles else 1.0
            universe.run(universe.now + late)
            return


def _start(world: World, one: Answered, registered: dict[str, tuple[int, str]]) -> None:
    catalog_id, path = registered[one.wanted.playbook]
    key = one.wanted.key

    async def work() -> None:
        gateway = world.edge.gateway
        for _ in range(_TRIES if key else 1):
            try:
                execution_id = gateway.ids.next()
            except Exception:  # noqa: BLE001 -- no ids while the lease of the machine is gone
                one.statuses.append(0)
                await asyncio.sleep(0.5)
                continue
            one.execution_ids.append(execution_id)
            status, text = await world.edge.start(execution_id, catalog_id, path, key)
            one.statuses.append(status)
            if status == 200:
                one.accepted.add(int(text))
                break
            if status == 503:
                one.refused.append(execution_id)
            await asyncio.sleep(0.5)
        if one.accepted and one.wanted.cancelled_after is not None:
            await asyncio.sleep(one.wanted.cancelled_after)
            for _ in range(_TRIES):
                status = await world.edge.cancel(min(one.accepted))
                if status == 200:
                    one.cancelled_at = world.universe.now
                if status in {200, 404, 422}:
                    break
                await asyncio.sleep(0.5)
        one.is_done = True

    world.in_edge(work, lambda _nothing: None)

"""The watcher: one report for each container, by whichever worker is there to make it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time

from noetl_contract.hints import EVERY_RUN
from noetl_testkit.waiting import eventually
from noetl_worker.tools.containers.backend import (
    BackendError,
    Condition,
    Ending,
    See,
    SeeAll,
    Sighting,
    Started,
)
from noetl_worker.tools.containers.plan import Origin, Plan
from noetl_worker.tools.containers.watcher import Watcher


def origin_of(number: int) -> Origin:
    return Origin(
        execution_id=1, event_id=number, command_id="", step="s", callback="", pool="p", worker="me"
    )


@dataclass
class Place:
    """A place with containers that end when a test says so."""

    containers: dict[str, Sighting] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    seers: list[tuple[See, SeeAll]] = field(default_factory=list)
    breaks: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, number: int, condition: Condition, *, worker: str = "me", **more: float) -> None:
        name = f"c{number}"
        fields = {"event_id": number, "at": time(), **more}
        sighting = Sighting(name=name, condition=condition, worker=worker, **fields)  # type: ignore[arg-type]
        if condition is Condition.GONE:
            self.containers.pop(name, None)
        else:
            self.containers[name] = sighting
        for see, _ in self.seers:
            see(sighting)

    async def start(self, plan: Plan) -> Started:
        raise NotImplementedError

    async def discard(self, plan: Plan) -> None:
        raise NotImplementedError

    async def close(self) -> None: ...

    async def follow(self, see: See, see_all: SeeAll) -> None:
        self.calls.append("follow")
        see_all(list(self.containers.values()), time())
        self.seers = [(see, see_all)]
        await self.breaks.wait()
        self.breaks.clear()
        self.seers = []
        raise BackendError("broken")

    async def found(self) -> list[Sighting]:
        self.calls.append("found")
        return list(self.containers.values())

    async def ending(self, sighting: Sighting) -> Ending | None:
        self.calls.append(f"ending {sighting.name}")
        if sighting.condition not in {Condition.ENDED, Condition.STUCK}:
            return None
        is_stuck = sighting.condition is Condition.STUCK
        return Ending(
            name=sighting.name,
            origin=origin_of(sighting.event_id),
            state="failed_image_pull" if is_stuck else "succeeded",
            is_removed=is_stuck,
        )

    async def settle(self, ending: Ending) -> Sighting | None:
        self.calls.append(f"settle {ending.name}")
        return Sighting(name=ending.name, condition=Condition.REPORTED, remove_at=time())

    async def expire(self, name: str) -> None:
        self.calls.append(f"expire {name}")
        # It dies before the call that killed it is answered.
        self.put(int(name[1:]), Condition.ENDED)
        await asyncio.sleep(0)

    async def remove(self, sighting: Sighting) -> None:
        self.calls.append(f"remove {sighting.name}")
        self.put(int(sighting.name[1:]), Condition.GONE)


@dataclass
class World:
    place: Place
    watcher: Watcher
    reports: list[Ending]


@asynccontextmanager
async def watching(
    *, takeover: float = 60.0, stuck: float = 60.0, before: Iterable[int] = ()
) -> AsyncIterator[World]:
    place, reports = Place(), []
    for number in before:
        place.put(number, Condition.ENDED)

    async def report(ending: Ending) -> bool:
        reports.append(ending)
        return True

    watcher = Watcher(
        place,
        report,
        worker="me",
        takeover_seconds=takeover,
        poll_seconds=600,
        stuck_seconds=stuck,
    )
    task = asyncio.create_task(watcher.run())
    try:
        await eventually(lambda: bool(place.seers))
        yield World(place, watcher, reports)
    finally:
        task.cancel()


async def test_an_end_is_reported_once_marked_and_tidied_up() -> None:
    async with watching() as world:
        world.place.put(1, Condition.RUNNING, deadline=time() + 600)
        world.place.put(1, Condition.ENDED)
        await eventually(lambda: "remove c1" in world.place.calls)
        world.place.put(1, Condition.GONE)

        assert [(one.name, one.state) for one in world.reports] == [("c1", "succeeded")]
        assert world.place.calls[1:] == ["ending c1", "settle c1", "remove c1"]
        assert len(world.watcher) == 0


async def test_ends_that_nobody_saw_are_found_by_the_list() -> None:
    async with watching(before=[1, 2]) as world:
        await eventually(lambda: len(world.reports) == 2)
        world.place.seers.clear()
        world.place.put(3, Condition.ENDED)
        world.place.breaks.set()
        await eventually(lambda: len(world.reports) == 3)


async def test_another_worker_s_container_is_reported_later_and_only_if_it_did_not() -> None:
    async with watching(takeover=0.2) as world:
        world.place.put(1, Condition.ENDED, worker="other")
        world.place.put(2, Condition.ENDED, worker="other")
        world.place.put(2, Condition.REPORTED, worker="other", remove_at=time())
        assert not world.reports
        await eventually(lambda: [one.name for one in world.reports] == ["c1"])
        assert "remove c2" in world.place.calls


async def test_one_whose_time_is_over_is_ended_and_then_reported() -> None:
    async with watching() as world:
        world.place.put(1, Condition.RUNNING, deadline=time())
        await eventually(lambda: [one.name for one in world.reports] == ["c1"])


async def test_one_whose_image_does_not_come_is_reported_and_removed() -> None:
    async with watching(stuck=0.05) as world:
        world.place.put(1, Condition.STUCK)
        await eventually(lambda: "remove c1" in world.place.calls)

        assert [one.state for one in world.reports] == ["failed_image_pull"]


async def test_an_image_that_comes_in_time_is_no_failure() -> None:
    async with watching(stuck=0.1) as world:
        world.place.put(1, Condition.STUCK)
        world.place.put(1, Condition.RUNNING)
        world.place.put(2, Condition.STUCK)
        await eventually(lambda: len(world.reports) == 1)

        assert world.reports[0].name == "c2"


async def test_a_command_that_is_over_takes_its_container_with_it() -> None:
    async with watching() as world:
        world.place.put(1, Condition.RUNNING)
        world.watcher.expect("c1", origin_of(1))
        assert [run.event_id for _, run in world.watcher.named()] == [1]
        # The command was dispatched again: its next run finds the container.
        world.watcher.stop(1, attempts=0)
        world.watcher.stop(1, attempts=EVERY_RUN)
        await eventually(lambda: world.place.calls[1:] == ["remove c1"])

        assert (len(world.watcher), world.reports) == (0, [])


async def test_a_container_that_is_gone_without_an_end_is_reported_as_lost() -> None:
    async with watching() as world:
        world.watcher.expect("c1", origin_of(1))
        world.place.breaks.set()
        await eventually(lambda: len(world.reports) == 1)

        assert world.reports[0].state == "failed_node_lost"


async def test_a_container_that_a_list_could_not_have_yet_is_not_taken_for_lost() -> None:
    async with watching() as world:
        ((_, see_all),) = world.place.seers
        asked_at = time()
        world.watcher.expect("c1", origin_of(1))
        see_all([], asked_at)
        await asyncio.sleep(0)

        assert len(world.watcher) == 1
        assert world.reports == []

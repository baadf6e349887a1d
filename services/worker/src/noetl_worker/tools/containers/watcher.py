"""The watcher: one watch for all containers of a pool, and a callback for each that ends."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from time import time

from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.hints import EVERY_RUN
from noetl_contract.http.workers.runtimes import RunningCommand

from noetl_worker import metrics
from noetl_worker.tools.containers.backend import (
    Backend,
    BackendError,
    Condition,
    Ending,
    Sighting,
)
from noetl_worker.tools.containers.plan import Origin

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_AGAIN_SECONDS = 5.0
_REPORTS_AT_ONCE = 8
_MOST_NAMED = 500

type Report = Callable[[Ending], Awaitable[bool]]
"""Report an end; False when it has to be reported again later."""

_log = get_logger()


@dataclass(slots=True)
class _Watched:
    """A container with the one thing that is to be done about it next."""

    sighting: Sighting
    origin: Origin | None = None
    """Known of those that this process has started."""
    over: "asyncio.Future[Ending] | None" = None
    """Future by which a run of this process waits for the end, which is reported to it alone."""
    task: "asyncio.Task[None] | None" = None
    is_busy: bool = False
    missed: Sighting | None = None
    """Sighting that came while an action on the container was under way."""
    known_since: float = field(default_factory=time)


class Watcher:
    """Follow the containers of a pool.

    Each worker of the pool has one. A container's end is reported by the worker that has started
    it, or some seconds later by another one; a mark on the container shows that it is done, and
    the control plane takes a second report for a repetition.

    Args:
        backend: where the containers run.
        report: reports an end to the control plane.
        worker: the mark of this worker on containers.
        takeover_seconds: how much later the containers of others are seen to.
        poll_seconds: pause between looks at all of them, beside the watch.
        stuck_seconds: how long one may wait for its image.
    """

    def __init__(
        self,
        backend: Backend,
        report: Report,
        *,
        worker: str,
        takeover_seconds: float,
        poll_seconds: float,
        stuck_seconds: float,
    ) -> None:
        self._backend = backend
        self._report = report
        self._worker = worker
        self._takeover_seconds = takeover_seconds
        self._poll_seconds = poll_seconds
        self._stuck_seconds = stuck_seconds
        self._watched: dict[str, _Watched] = {}
        self._places = asyncio.Semaphore(_REPORTS_AT_ONCE)

    def __len__(self) -> int:
        return len(self._watched)

    def expect(
        self, name: str, origin: Origin, over: "asyncio.Future[Ending] | None" = None
    ) -> None:
        """Know a container that this process has started, whether or not the watch has seen it.

        Args:
            name: of the container.
            origin: for whom it runs.
            over: gets its end, in place of the control plane.
        """
        sighting = Sighting(
            name=name,
            condition=Condition.RUNNING,
            event_id=origin.event_id,
            worker=self._worker,
            at=time(),
        )
        watched = self._watched.setdefault(name, _Watched(sighting))
        watched.origin, watched.over = origin, over
        if over is not None:
            self._plan_for(watched, watched.sighting)

    async def run(self) -> None:
        """Watch for ever; after a broken watch all containers are looked at again."""
        poll = asyncio.create_task(self._poll(), name="containers-poll")
        try:
            while True:
                async for _ in backoff(
                    first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS
                ):
                    if await self._watch_once() >= _LONGEST_PAUSE_SECONDS:
                        break  # it was a good one: the next begins at once
        finally:
            poll.cancel()
            for one in self._watched.values():
                if one.task is not None:
                    one.task.cancel()

    async def _watch_once(self) -> float:
        """Watch until it breaks; return for how many seconds it went well."""
        began = time()
        try:
            await self._backend.follow(self._see, self._see_all)
        except BackendError as error:
            metrics.CONTAINER_WATCH_BREAKS.inc()
            _log.warning("container_watch_broken", error=str(error))
        return time() - began

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            asked_at = time()
            try:
                self._see_all(await self._backend.found(), asked_at)
            except BackendError as error:
                _log.warning("containers_not_listed", error=str(error))

    def stop(self, event_id: int, *, attempts: int) -> None:
        """Remove the container of a command that has ended without it."""
        if attempts < EVERY_RUN:
            return
        for watched in self._watched.values():
            sighting = watched.sighting
            if sighting.event_id == event_id and sighting.condition is not Condition.REPORTED:
                self._plan(watched, self._later(sighting), self._remove)

    def named(self, shard: int | None = None) -> list[tuple[int, RunningCommand]]:
        """Return the commands that containers of ours run for, with their shards."""
        origins = [
            one.origin
            for one in self._watched.values()
            if one.origin is not None
            and one.over is None
            and one.sighting.condition is not Condition.REPORTED
        ]
        return [
            (
                one.shard,
                RunningCommand(
                    execution_id=one.execution_id, event_id=one.event_id, attempts=EVERY_RUN
                ),
            )
            for one in origins
            if shard is None or one.shard == shard
        ][:_MOST_NAMED]

    def _see_all(self, sightings: Iterable[Sighting], asked_at: float) -> None:
        """Take a list of all; a container that is missing in it, and was there before, is gone."""
        known = {name for name, one in self._watched.items() if one.known_since < asked_at}
        listed = {one.name: one for one in sightings}
        for sighting in listed.values():
            self._see(sighting)
        for name in known - listed.keys():
            self._see(Sighting(name=name, condition=Condition.GONE, at=time()))

    def _see(self, sighting: Sighting) -> None:
        watched = self._watched.get(sighting.name)
        if watched is None and sighting.is_awaited and not self._is_own(sighting):
            return
        if watched is not None and watched.is_busy:
            watched.missed = sighting
            return
        if sighting.condition is Condition.GONE:
            if watched is not None:
                self._see_gone(watched, sighting)
            return
        before = None if watched is None else watched.sighting
        if watched is None:
            watched = self._watched[sighting.name] = _Watched(sighting)
        if before is not None and (
            before.condition is Condition.REPORTED or _is_still_stuck(before, sighting)
        ):
            return
        watched.sighting = sighting
        if sighting.is_awaited and watched.over is None:
            return  # the run that waits for it is about to say so, or is gone
        self._plan_for(watched, sighting)

    def _plan_for(self, watched: _Watched, sighting: Sighting) -> None:
        match sighting.condition:
            case Condition.ENDED:
                self._plan(watched, self._later(sighting), self._report_end)
            case Condition.STUCK:
                patience = sighting.patience
                if patience is None:
                    patience = self._stuck_seconds
                self._plan(watched, patience + self._later(sighting), self._report_end)
            case Condition.REPORTED if sighting.remove_at is not None:
                self._plan(watched, sighting.remove_at, self._remove)
            case Condition.RUNNING if sighting.deadline is not None:
                extra = 0.0 if self._is_own(sighting) else self._takeover_seconds
                self._plan(watched, sighting.deadline + extra, self._expire)
            case _:
                self._plan(watched, None, self._report_end)

    def _see_gone(self, watched: _Watched, gone: Sighting) -> None:
        """Report a container that went without an end; forget one that had to go."""
        before = watched.sighting
        if before.condition is Condition.REPORTED or watched.origin is None:
            self._forget(before.name, watched)
        elif before.condition is not Condition.GONE:
            watched.sighting = replace(before, condition=Condition.GONE, at=gone.at)
            self._plan(watched, gone.at, self._report_end)

    def _later(self, sighting: Sighting) -> float:
        """Return when it is our turn, in Unix seconds."""
        since = sighting.at or time()
        return since if self._is_own(sighting) else since + self._takeover_seconds

    def _is_own(self, sighting: Sighting) -> bool:
        return sighting.worker == self._worker

    def _plan(
        self, watched: _Watched, at: float | None, do: Callable[[_Watched], Awaitable[None]]
    ) -> None:
        """Set the next action, in place of the one planned before; None: nothing."""
        if watched.is_busy:
            return
        if watched.task is not None:
            watched.task.cancel()
            watched.task = None
        if at is not None:
            watched.task = asyncio.create_task(self._at(at, watched, do))

    async def _at(
        self, at: float, watched: _Watched, do: Callable[[_Watched], Awaitable[None]]
    ) -> None:
        async for _ in backoff(first_seconds=_AGAIN_SECONDS, longest_seconds=12 * _AGAIN_SECONDS):
            await asyncio.sleep(max(0.0, at - time()))
            watched.is_busy = True
            try:
                async with self._places:
                    await do(watched)
            except BackendError as error:
                _log.warning("container_not_seen_to", name=watched.sighting.name, error=str(error))
                continue
            finally:
                watched.is_busy = False
            break
        if watched.task is asyncio.current_task():
            watched.task = None
        missed, watched.missed = watched.missed, None
        if missed is not None and self._watched.get(missed.name) is watched:
            self._see(missed)

    async def _report_end(self, watched: _Watched) -> None:
        """Report an end, and mark the container as reported.

        Raises:
            BackendError: it could not be done; it is tried again.
        """
        sighting = watched.sighting
        if sighting.condition is Condition.GONE:
            ending = None if watched.origin is None else _lost(sighting, watched.origin)
        else:
            ending = await self._backend.ending(sighting)
        if ending is None and sighting.condition is Condition.ENDED and watched.origin is not None:
            ending = _lost(sighting, watched.origin)  # it went before it could be looked at
        if ending is None:
            self._not_ended(watched)
            return
        if not await self._deliver(watched, ending):
            raise BackendError("the control plane did not take the callback")
        metrics.CONTAINERS_ENDED.labels(ending.state).inc()
        _log.info("container_reported", name=ending.name, state=ending.state)
        await self._close(watched, ending)

    async def _deliver(self, watched: _Watched, ending: Ending) -> bool:
        if watched.over is None:
            return await self._report(ending)
        if not watched.over.done():
            watched.over.set_result(ending)
        return True

    def _not_ended(self, watched: _Watched) -> None:
        if watched.sighting.condition is Condition.STUCK:
            watched.sighting = replace(watched.sighting, condition=Condition.RUNNING)
        else:
            self._forget(watched.sighting.name, watched)

    async def _close(self, watched: _Watched, ending: Ending) -> None:
        """Mark a container that has been reported, and plan its removal."""
        if watched.sighting.condition is Condition.GONE:
            self._forget(ending.name, watched)
            return
        if ending.is_removed:
            await self._remove(watched)
            return
        settled = await self._backend.settle(ending)
        if settled is None:
            self._forget(ending.name, watched)
            return
        watched.sighting = settled
        if settled.remove_at is not None:
            watched.task = asyncio.create_task(self._at(settled.remove_at, watched, self._remove))

    async def _remove(self, watched: _Watched) -> None:
        await self._backend.remove(watched.sighting)
        self._forget(watched.sighting.name, watched)

    async def _expire(self, watched: _Watched) -> None:
        await self._backend.expire(watched.sighting.name)

    def _forget(self, name: str, watched: _Watched) -> None:
        if self._watched.get(name) is watched:
            del self._watched[name]
        if watched.task is not None and watched.task is not asyncio.current_task():
            watched.task.cancel()


def _is_still_stuck(before: Sighting, sighting: Sighting) -> bool:
    """Return whether nothing new is known of a container that can't begin or go on."""
    return (
        before.condition is sighting.condition is Condition.STUCK
        and before.patience == sighting.patience
    )


def _lost(sighting: Sighting, origin: Origin) -> Ending:
    return Ending(
        name=sighting.name,
        origin=origin,
        state="failed_node_lost",
        reason="the container is gone, and nobody has said how it ended",
    )

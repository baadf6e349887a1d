"""Inputs wait here for a turn: many executions side by side, each in one turn at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from noetl_orchestrator.turn.inputs import Group, Work

type Postponed = tuple[Group, float]
"""A group that was left out of its commit, and the seconds until it is tried again."""


class Dispatcher:
    """Hands groups of inputs to turns.

    Two replicas are kept apart by the position check; this keeps two turns of one process
    apart, so that they don't conflict for nothing.

    Args:
        turn_inputs: inputs of one turn at most.
        inputs_per_execution: of these for one execution at most (W9).
    """

    def __init__(self, *, turn_inputs: int, inputs_per_execution: int) -> None:
        self._turn_inputs = turn_inputs
        self._inputs_per_execution = inputs_per_execution
        self._waiting: dict[int, deque[Work]] = {}
        self._ready: deque[int] = deque()
        self._busy: set[int] = set()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(works) for works in self._waiting.values())

    def submit(self, work: Work) -> None:
        """Put an input behind those of its execution."""
        works = self._waiting.get(work.execution_id)
        if works is None:
            self._waiting[work.execution_id] = deque((work,))
            if work.execution_id not in self._busy:
                self._ready.append(work.execution_id)
                self._wake.set()
        else:
            works.append(work)

    async def take(self) -> list[Group]:
        """Wait for inputs and return the groups of one turn; they are busy until released."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        groups = []
        room = self._turn_inputs
        while self._ready and room > 0:
            execution_id = self._ready.popleft()
            works = self._waiting.pop(execution_id)
            count = min(len(works), room, self._inputs_per_execution)
            taken = [works.popleft() for _ in range(count)]
            if works:
                self._waiting[execution_id] = works
            self._busy.add(execution_id)
            groups.append(Group(execution_id, taken))
            room -= count
        return groups

    def release(self, execution_ids: Iterable[int]) -> None:
        """Let other turns have these executions."""
        for execution_id in execution_ids:
            self._busy.discard(execution_id)
            if execution_id in self._waiting:
                self._ready.append(execution_id)
        if self._ready:
            self._wake.set()

    def postpone(self, group: Group, delay_seconds: float) -> None:
        """Put a group back in front; its execution stays busy for the delay."""
        asyncio.get_running_loop().call_later(delay_seconds, self._put_back, group)

    def _put_back(self, group: Group) -> None:
        works = self._waiting.setdefault(group.execution_id, deque())
        works.extendleft(reversed(group.works))
        self.release((group.execution_id,))

    async def run_turns(
        self,
        turn: Callable[[list[Group], Callable[[], None]], Awaitable[list[Postponed]]],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Take and process groups until cancelled; several of these run side by side."""
        while True:
            beat()
            groups = await self._take_or_none()
            if groups is None:
                continue
            postponed = await turn(groups, beat)
            kept_busy = {group.execution_id for group, _ in postponed}
            self.release(
                group.execution_id for group in groups if group.execution_id not in kept_busy
            )
            for group, delay_seconds in postponed:
                self.postpone(group, delay_seconds)

    async def _take_or_none(self) -> list[Group] | None:
        """Return None now and then while nothing comes, so that liveness sees us."""
        try:
            async with asyncio.timeout(5.0):
                return await self.take()
        except TimeoutError:
            return None

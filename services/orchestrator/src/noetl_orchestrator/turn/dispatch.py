"""Queue inputs for turns: many executions at once, each in one turn at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from noetl_orchestrator.turn.inputs import Group, TurnInput

type Postponed = tuple[Group, float]
"""A group left out of its commit, and the seconds until the next try."""

_MANY = 5
"""Executions that are worth a turn beside another one."""
_GATHER_SECONDS = 0.02


class Dispatcher:
    """Hand groups of inputs to turns.

    The position check separates replicas; this class separates the turns of one process, to avoid
    conflicts between them.

    A turn and its commit cost about as much for one execution as for four. So what comes while a
    turn is under way waits for its end, unless that is late or much has come.

    Args:
        turn_inputs: largest number of inputs in a turn.
        inputs_per_execution: largest number for one execution (W9).
        gather_seconds: longest wait of a few executions for the turn that is under way.
    """

    def __init__(
        self,
        *,
        turn_inputs: int,
        inputs_per_execution: int,
        gather_seconds: float = _GATHER_SECONDS,
    ) -> None:
        self._turn_inputs = turn_inputs
        self._inputs_per_execution = inputs_per_execution
        self._waiting: dict[int, deque[TurnInput]] = {}
        self._ready: deque[int] = deque()
        self._busy: set[int] = set()
        self._gather_seconds = gather_seconds
        self._under_way = 0
        self._late = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(inputs) for inputs in self._waiting.values())

    def submit(self, turn_input: TurnInput) -> None:
        """Append an input to those of its execution."""
        inputs = self._waiting.get(turn_input.execution_id)
        if inputs is None:
            self._waiting[turn_input.execution_id] = deque((turn_input,))
            if turn_input.execution_id not in self._busy:
                self._ready.append(turn_input.execution_id)
                if self._may_begin():
                    self._wake.set()
        else:
            inputs.append(turn_input)

    async def take(self) -> list[Group]:
        """Wait for inputs; return the groups of one turn, busy until released."""
        while not self._may_begin():
            self._wake.clear()
            await self._wake.wait()
        groups = []
        room = self._turn_inputs
        while self._ready and room > 0:
            execution_id = self._ready.popleft()
            inputs = self._waiting.pop(execution_id)
            count = min(len(inputs), room, self._inputs_per_execution)
            taken = [inputs.popleft() for _ in range(count)]
            if inputs:
                self._waiting[execution_id] = inputs
            self._busy.add(execution_id)
            groups.append(Group(execution_id, taken))
            room -= count
        return groups

    def _may_begin(self) -> bool:
        """Return whether a turn may begin now."""
        is_worth_it = not self._under_way or self._late > 0 or len(self._ready) >= _MANY
        return bool(self._ready) and is_worth_it

    @contextmanager
    def _turn_under_way(self) -> Iterator[None]:
        """Let others wait for the turn in the block, until it is late."""
        is_late = False

        def note() -> None:
            nonlocal is_late
            is_late = True
            self._late += 1
            self._wake.set()

        timer = asyncio.get_running_loop().call_later(self._gather_seconds, note)
        self._under_way += 1
        try:
            yield
        finally:
            timer.cancel()
            self._under_way -= 1
            self._late -= is_late

    def release(self, execution_ids: Iterable[int]) -> None:
        """Make these executions available to other turns."""
        for execution_id in execution_ids:
            self._busy.discard(execution_id)
            if execution_id in self._waiting:
                self._ready.append(execution_id)
        if self._may_begin():
            self._wake.set()

    def postpone(self, group: Group, delay_seconds: float) -> None:
        """Put a group back in front; its execution stays busy for the delay."""
        asyncio.get_running_loop().call_later(delay_seconds, self._put_back, group)

    def _put_back(self, group: Group) -> None:
        inputs = self._waiting.setdefault(group.execution_id, deque())
        inputs.extendleft(reversed(group.inputs))
        self.release((group.execution_id,))

    async def run_turns(
        self,
        turn: Callable[[list[Group], Callable[[], None]], Awaitable[list[Postponed]]],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Take and process groups until cancelled; several of these loops may run at once."""
        while True:
            beat()
            groups = await self._take_or_none()
            if groups is None:
                continue
            with self._turn_under_way():
                postponed = await turn(groups, beat)
            kept_busy = {group.execution_id for group, _ in postponed}
            self.release(
                group.execution_id for group in groups if group.execution_id not in kept_busy
            )
            for group, delay_seconds in postponed:
                self.postpone(group, delay_seconds)

    async def _take_or_none(self) -> list[Group] | None:
        """Return None at intervals without inputs, so that the loop reports that it is alive."""
        try:
            async with asyncio.timeout(5.0):
                return await self.take()
        except TimeoutError:
            return None

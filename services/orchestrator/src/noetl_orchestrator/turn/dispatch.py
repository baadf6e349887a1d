"""Queue inputs for turns: many executions at once, each in one turn at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from noetl_orchestrator.turn.inputs import Group, TurnInput

type Postponed = tuple[Group, float | None]
"""A group left out of its commit, and the seconds until the next try.

None where the time of its turn was over: it keeps its place before those that came since.
"""

_MANY = 5
"""Executions that are worth a turn beside another one."""
_GATHER_SECONDS = 0.02
_SLOW_AT_ONCE = 5
_QUICK_SECONDS = 1.0
"""After a turn of others these count as being at work."""


class Dispatcher:
    """Hand groups of inputs to turns.

    The position check separates replicas; this class separates the turns of one process, to avoid
    conflicts between them.

    A turn and its commit cost about as much for one execution as for four. So what comes while a
    turn is under way waits for its end, unless that is late or much has come.

    Executions have turns in the order in which they became ready, and of three kinds:

    - urgent: of words of people alone, before everything else;
    - quick: of whatever else there is;
    - slow: of those whose decisions take long, one turn at a time, and with a rest of as long
      while others are at work. So these have half of the process at most.

    No kind keeps the next one from its turn twice.

    Args:
        turn_inputs: largest number of inputs in a turn.
        inputs_per_execution: largest number for one execution (W9).
        gather_seconds: longest wait of a few executions for the turn that is under way.
        is_slow: says of the next input of an execution whether its decision will take long.
    """

    def __init__(
        self,
        *,
        turn_inputs: int,
        inputs_per_execution: int,
        gather_seconds: float = _GATHER_SECONDS,
        is_slow: Callable[[TurnInput], bool] = lambda _input: False,
    ) -> None:
        self._turn_inputs = turn_inputs
        self._inputs_per_execution = inputs_per_execution
        self._is_slow = is_slow
        self._waiting: dict[int, deque[TurnInput]] = {}
        self._urgent: deque[int] = deque()
        self._quick: deque[int] = deque()
        self._slow: deque[int] = deque()
        self._last: deque[int] = self._slow
        self._last_but_urgent: deque[int] = self._slow
        self._busy: set[int] = set()
        # The slow turn that is under way, or after which they rest.
        self._slow_turn: list[Group] | None = None
        self._slow_took = 0.0
        self._quick_until = 0.0
        self._gather_seconds = gather_seconds
        self._under_way = 0
        self._late = 0
        self._wake = asyncio.Event()
        self._waited_for: dict[int, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return sum(len(inputs) for inputs in self._waiting.values())

    @property
    def waits(self) -> bool:
        """Return whether a group waits for what its decision needs."""
        return bool(self._waited_for)

    def submit(self, turn_input: TurnInput) -> None:
        """Append an input to those of its execution, an urgent one before all that are not."""
        execution_id = turn_input.execution_id
        waited_for = self._waited_for.get(execution_id) if turn_input.is_urgent else None
        if waited_for is not None:
            waited_for.cancel()  # people don't wait for it; the decision behind asks again (W27)
        inputs = self._waiting.get(execution_id)
        if inputs is None:
            self._waiting[execution_id] = deque((turn_input,))
            if execution_id not in self._busy:
                self._queue_of(execution_id).append(execution_id)
                self._wake_up()
        elif turn_input.is_urgent:
            was_urgent = inputs[0].is_urgent
            inputs.insert(sum(1 for _ in takewhile(_is_urgent, inputs)), turn_input)
            if execution_id not in self._busy and not was_urgent:
                queue = self._quick if execution_id in self._quick else self._slow
                queue.remove(execution_id)
                self._urgent.append(execution_id)
                self._wake_up()
        else:
            inputs.append(turn_input)

    def note_slow(self, seconds: float) -> None:
        """Note for how long a slow decision has held the process."""
        self._slow_took += seconds

    def _queue_of(self, execution_id: int) -> deque[int]:
        """Return the queue in which an execution with inputs waits for its turn."""
        first = self._waiting[execution_id][0]
        if first.is_urgent:
            return self._urgent
        return self._slow if self._is_slow(first) else self._quick

    async def take(self) -> list[Group]:
        """Wait for inputs; return the groups of one turn, busy until released."""
        while (queue := self._next()) is None:
            self._wake.clear()
            await self._wake.wait()
        self._last = queue
        if queue is not self._urgent:
            self._last_but_urgent = queue
        most = _SLOW_AT_ONCE if queue is self._slow else self._turn_inputs
        groups: list[Group] = []
        room = self._turn_inputs
        while queue and room > 0 and len(groups) < most:
            execution_id = queue.popleft()
            inputs = self._waiting.pop(execution_id)
            count = min(len(inputs), room, self._inputs_per_execution)
            taken = [inputs.popleft() for _ in range(count)]
            if inputs:
                self._waiting[execution_id] = inputs
            self._busy.add(execution_id)
            groups.append(Group(execution_id, taken))
            room -= count
        if queue is self._slow:
            self._slow_turn, self._slow_took = groups, 0.0
        elif queue is self._quick:
            self._quick_until = asyncio.get_running_loop().time() + _QUICK_SECONDS
        return groups

    def _next(self) -> deque[int] | None:
        """Return the queue of the turn that may begin now."""
        slow = bool(self._slow) and self._slow_turn is None
        if self._urgent and not (self._last is self._urgent and (self._quick or slow)):
            return self._urgent
        ready = len(self._quick) + (len(self._slow) if slow else 0)
        if self._under_way and not self._late and ready < _MANY:
            return None
        if slow and not (self._quick and self._last_but_urgent is self._slow):
            return self._slow
        return self._quick or None

    def _wake_up(self) -> None:
        if self._next() is not None:
            self._wake.set()

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
                self._queue_of(execution_id).append(execution_id)
        self._wake_up()

    def _end_slow(self, groups: Sequence[Group]) -> None:
        """Let the next slow turn begin: at once, or after a rest if others are at work."""
        if groups is self._slow_turn:
            loop = asyncio.get_running_loop()
            is_rest = loop.time() < self._quick_until
            loop.call_later(self._slow_took if is_rest else 0.0, self._free_slow)

    def _free_slow(self) -> None:
        self._slow_turn = None
        self._wake_up()

    def postpone(self, group: Group, delay_seconds: float) -> None:
        """Put a group back in front; its execution stays busy for the delay, or what it needs."""
        if group.waits_for is None:
            asyncio.get_running_loop().call_later(delay_seconds, self._put_back, group)
            return
        waited_for = asyncio.ensure_future(group.waits_for())
        self._waited_for[group.execution_id] = waited_for
        # Not in the task itself: one that is cancelled before it begins runs no `finally`.
        waited_for.add_done_callback(lambda _: self._end_wait(group))

    def _end_wait(self, group: Group) -> None:
        del self._waited_for[group.execution_id]
        self._put_back(group)

    def _put_back(self, group: Group) -> None:
        self._put_before(group)
        self.release((group.execution_id,))

    def _put_before(self, group: Group) -> None:
        """Put inputs back before those that came since; but the urgent ones of both are first."""
        since = self._waiting.get(group.execution_id, ())
        inputs = sorted((*group.inputs, *since), key=_is_urgent, reverse=True)
        self._waiting[group.execution_id] = deque(inputs)

    def _return(self, undecided: Iterable[Group]) -> None:
        """Line up groups that a turn had no time for, before those that came since."""
        for group in reversed(list(undecided)):
            self._put_before(group)
            self._busy.discard(group.execution_id)
            self._queue_of(group.execution_id).appendleft(group.execution_id)

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
            self._end_slow(groups)
            self._return(group for group, delay in postponed if delay is None)
            kept_busy = {group.execution_id for group, _ in postponed}
            self.release(
                group.execution_id for group in groups if group.execution_id not in kept_busy
            )
            for group, delay_seconds in postponed:
                if delay_seconds is not None:
                    self.postpone(group, delay_seconds)

    async def _take_or_none(self) -> list[Group] | None:
        """Return None at intervals without inputs, so that the loop reports that it is alive."""
        try:
            async with asyncio.timeout(5.0):
                return await self.take()
        except TimeoutError:
            return None


def _is_urgent(turn_input: TurnInput) -> bool:
    return turn_input.is_urgent

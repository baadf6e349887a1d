"""The commands that run in this process, and the way to stop their tools from outside."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any

from noetl_bus.inbox import Incoming
from noetl_common.logging import get_logger
from noetl_contract.hints import RunsOverHint
from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.json import Json

from noetl_worker import metrics
from noetl_worker.commands import Command
from noetl_worker.tools.tool import Parking

_log = get_logger()
_MOST_NAMED = 1000
_MOST_TOLD = 4096
_ENDED_SECONDS = 120.0
_MOST_ENDED = 100_000
"""More than a control plane ends in that time."""


class _Run:
    __slots__ = ("command", "is_over", "task")

    def __init__(self, command: Command, task: "asyncio.Task[object] | None") -> None:
        self.command = command
        self.task = task
        self.is_over = False


class EndedExecutions:
    """Executions that ended with open commands, for at least two minutes, at most four.

    A notification is older than that only where its command is claimed before it begins.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._turned = clock()

    def __contains__(self, execution_id: int) -> bool:
        return execution_id in self._recent or execution_id in self._older

    def add(self, execution_id: int) -> None:
        """Keep an execution in mind."""
        now = self._clock()
        if now - self._turned >= _ENDED_SECONDS or len(self._recent) >= _MOST_ENDED:
            self._older, self._recent = self._recent, set()
            self._turned = now
        self._recent.add(execution_id)


class Runs:
    """Runs by the event id of their command.

    A run that the control plane has ended is cancelled: its tool ends what it has started, and
    nothing is reported.
    """

    def __init__(self, parking: Sequence[Parking] = ()) -> None:
        """Keep runs; also those whose work goes on in tools after their report."""
        self._parking = parking
        self._running: dict[int, _Run] = {}
        self._told: OrderedDict[int, int] = OrderedDict()
        self._ended = EndedExecutions()

    async def until_over[T](self, command: Command, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work of a run; None if the run was over before."""
        if (
            self._told.get(command.event_id, -1) >= command.attempts
            or command.execution_id in self._ended
        ):
            metrics.STOPPED.labels(command.action).inc()
            work.close()
            return None
        run = _Run(command, asyncio.current_task())
        self._running[command.event_id] = run
        try:
            found = await work
        except asyncio.CancelledError:
            # A cancellation that came from elsewhere too goes on.
            if run.is_over and run.task is not None and run.task.uncancel() == 0:
                return None
            raise
        finally:
            if self._running.get(command.event_id) is run:
                del self._running[command.event_id]
        if run.is_over and run.task is not None:
            run.task.uncancel()  # the tool went on in spite of it
            return None
        return found

    def stop(self, event_id: int, *, attempts: int) -> None:
        """Stop a run of at most these attempts, if it is here or about to begin."""
        for tool in self._parking:
            tool.stop(event_id, attempts=attempts)
        run = self._running.get(event_id)
        if run is None or run.command.attempts < attempts:
            self._told[event_id] = max(attempts, self._told.pop(event_id, -1))
            if len(self._told) > _MOST_TOLD:
                self._told.popitem(last=False)
        if run is not None and run.command.attempts <= attempts:
            self._stop(run)

    def end(self, execution_id: int) -> None:
        """Stop all runs of an execution, and begin none of it any more."""
        self._ended.add(execution_id)
        for run in list(self._running.values()):
            if run.command.execution_id == execution_id:
                self._stop(run)

    def _stop(self, run: _Run) -> None:
        if run.is_over or run.task is None:
            return
        run.is_over = True
        metrics.STOPPED.labels(run.command.action).inc()
        _log.info("run_stopped", command_id=run.command.command_id, kind=run.command.action)
        run.task.cancel()

    def on_hint(self, incoming: Incoming) -> None:
        """Stop the runs that a message of the control plane names."""
        try:
            hint = RunsOverHint.from_json(incoming.data)
        except ValueError:
            return
        if hint.ended:
            self.end(hint.execution_id)
        for event_id, attempts in hint.over:
            self.stop(event_id, attempts=attempts)

    def on_answer(self, over: Json) -> None:
        """Stop the runs that the answer to a heartbeat names."""
        for one in over if isinstance(over, list) else ():
            match one:
                case {"event_id": int(event_id), "attempts": int(attempts)}:
                    self.stop(event_id, attempts=attempts)
                case _:
                    pass

    def named(self, shard: int | None = None) -> list[RunningCommand]:
        """Return the runs, of one shard or of all, as a heartbeat names them."""
        found: Iterable[Command] = (run.command for run in self._running.values())
        running = [
            RunningCommand(
                execution_id=one.execution_id, event_id=one.event_id, attempts=one.attempts
            )
            for one in found
            if shard is None or one.shard == shard
        ]
        parked = [one for tool in self._parking for _, one in tool.named(shard)]
        return [*running, *parked][:_MOST_NAMED]

    @property
    def shards(self) -> set[int]:
        """The shards of the running commands, and of those whose work goes on."""
        parked = {shard for tool in self._parking for shard, _ in tool.named()}
        return parked | {run.command.shard for run in self._running.values()}

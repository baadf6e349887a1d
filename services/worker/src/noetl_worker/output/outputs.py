"""The outputs of all runs of a worker, and the executions that are watched."""

from time import monotonic

import orjson
from noetl_bus.inbox import Incoming
from noetl_contract.hints import WatchHint
from noetl_contract.json import JsonObject

from noetl_worker import metrics
from noetl_worker.commands import Command
from noetl_worker.output.channels import OutputChannel, OutputPlace
from noetl_worker.output.limits import OutputLimits
from noetl_worker.output.run_output import Hidden, RunOutput

_WATCHED_SECONDS = 10.0
_MOST_WATCHED = 10_000


class Outputs:
    """Makes an output for each run, and sends its lines while its execution is watched.

    Without a watcher nothing is sent. An edge says who is watched, again and again; who is not
    named for a while is not watched any more.
    """

    def __init__(self, channel: OutputChannel, limits: OutputLimits | None = None) -> None:
        self._channel = channel
        self._limits = limits or OutputLimits()
        self._watched: dict[int, float] = {}
        self._printing: dict[int, list[RunOutput]] = {}

    def of(self, command: Command, hidden: Hidden) -> RunOutput:
        """Return the output of a run that begins; to be closed."""
        name: JsonObject = {
            "execution_id": command.execution_id,
            "event_id": command.event_id,
            "command_id": command.command_id,
            "step": command.step,
            "attempts": command.attempts,
        }
        return RunOutput(
            name,
            place=OutputPlace(command.execution_id, command.event_id, command.server_url),
            sending=self,
            limits=self._limits,
            hidden=hidden,
        )

    async def close(self, output: RunOutput) -> None:
        """Send the remaining lines of a run that has ended, before its end is reported."""
        output.close()
        execution_id = output.place.execution_id
        runs = self._printing.get(execution_id)
        if runs is None or output not in runs:
            return
        runs.remove(output)
        if not runs:
            del self._printing[execution_id]
        if self.is_watched(output):
            await self._channel.settle()

    def on_hint(self, incoming: Incoming) -> None:
        """Note which executions are watched; send the kept lines of new ones."""
        try:
            hint = WatchHint.from_json(incoming.data)
        except ValueError:
            return
        now = monotonic()
        named, fresh = set(hint.executions[:_MOST_WATCHED]), set(hint.fresh[:_MOST_WATCHED])
        for number in named:
            if self._watched.get(number, 0.0) < now:
                fresh.add(number)
            self._watched[number] = now + _WATCHED_SECONDS
        if len(self._watched) > _MOST_WATCHED:
            self._watched = {one: until for one, until in self._watched.items() if until > now}
        for number in fresh & named & self._printing.keys():
            for run in self._printing[number]:
                run.show_all()

    def is_watched(self, run: RunOutput) -> bool:
        """Return whether the execution of a run is watched."""
        if not self._watched:
            return False
        until = self._watched.get(run.place.execution_id)
        if until is None:
            return False
        if until > monotonic():
            return True
        del self._watched[run.place.execution_id]
        return False

    def has_printed(self, run: RunOutput) -> None:
        """Note a run that has printed something."""
        self._printing.setdefault(run.place.execution_id, []).append(run)

    def send(self, run: RunOutput, body: JsonObject) -> None:
        """Send a batch, or drop it."""
        metrics.OUTPUT_BATCHES.inc()
        self._channel.send(run.place, orjson.dumps(body))

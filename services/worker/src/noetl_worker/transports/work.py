"""The tools of commands at work."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from noetl_worker.commands import Command
from noetl_worker.control_plane.result_stores import ResultStore
from noetl_worker.run.reports import Outcome
from noetl_worker.run.runner import Runner
from noetl_worker.transports.runs import Runs


@dataclass(frozen=True, slots=True)
class Work:
    """Runs commands, until the control plane ends them."""

    runner: Runner
    results: ResultStore
    runs: Runs

    def on(self, command: Command) -> Coroutine[Any, Any, Outcome | None]:
        """Run a command's tool; None if the run was over before its end."""
        return self.runs.until_over(command, self.runner.run(command, self.results))

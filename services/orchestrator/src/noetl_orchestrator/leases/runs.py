"""Runs of commands: answers to workers that ask which of their runs are over."""

from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.rpc.orchestrator import RunsOver, RunsQuery
from noetl_pg.database import Database


class Runs:
    """Answer ``noetl_rpc.orchestrator.<shard>.runs.over``."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "runs.sql")

    async def on_over(self, query: RunsQuery) -> RunsOver:
        """Return the runs whose tools have to be stopped; unknown runs are not among them."""
        runs = query.runs
        rows = await self._db.fetch(
            "find_runs_over",
            [run.execution_id for run in runs],
            [run.event_id for run in runs],
            [run.attempts for run in runs],
        )
        return RunsOver(over=[RunningCommand(**row) for row in rows])

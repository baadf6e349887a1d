"""The demand for workers: the numbers of waiting and running commands of each pool."""

from noetl_contract.http.system.state import WorkerLoad
from noetl_contract.rpc.orchestrator import DemandQuery, PoolDemand, PoolDemands
from noetl_pg.database import Database

from noetl_orchestrator.catalog.pauses import Pauses

_MOST_POOLS = 1000
_MOST_WORKERS = 500


class Demand:
    """Answer ``noetl_rpc.orchestrator.<shard>.demand`` from the table of commands."""

    def __init__(self, database: Database, pauses: Pauses) -> None:
        self._db = database.with_statements(__package__, "demand.sql")
        self._pauses = pauses

    async def on_demand(self, query: DemandQuery) -> PoolDemands:
        """Count the open commands of a pool, or of the thousand pools that have the most."""
        paused = sorted(self._pauses.pools), sorted(self._pauses.paths)
        rows = await self._db.fetch("count_open_commands", query.pool, _MOST_POOLS, *paused)
        return PoolDemands(pools=[PoolDemand(**row) for row in rows])

    async def read_loads(self) -> list[WorkerLoad]:
        """Return the number of commands of each worker, the most loaded first."""
        rows = await self._db.fetch("count_by_worker", _MOST_WORKERS)
        return [WorkerLoad(**row) for row in rows]

"""Waiting joins, for diagnosis of an execution that doesn't move."""

from noetl_contract.events import EventRow
from noetl_contract.http.executions.why import OpenJoin, OpenJoins
from noetl_contract.http.moments import rfc3339
from noetl_contract.rpc.orchestrator import JoinsQuery
from noetl_engine.decide.waits.joins import waiting_joins

from noetl_orchestrator.catalog.lookups import PlaybookNotUsable
from noetl_orchestrator.catalog.playbooks import Playbooks
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.loader import Loader

_PLAYBOOK_SECONDS = 1.0


class Joins:
    """Answer ``noetl_rpc.orchestrator.<shard>.joins``, from the committed state."""

    def __init__(self, store: Store, loader: Loader, playbooks: Playbooks) -> None:
        self._store = store
        self._loader = loader
        self._playbooks = playbooks

    async def on_joins(self, query: JoinsQuery) -> OpenJoins:
        """Return the waiting joins; none where execution or playbook can't be loaded."""
        execution_id = query.execution_id
        entry = (await self._loader.load([execution_id])).get(execution_id)
        if entry is None or not entry.execution.state.waiting:
            return OpenJoins(joins=[])
        found = await self._playbooks.get_many(
            [entry.catalog_id], timeout_seconds=_PLAYBOOK_SECONDS
        )
        playbook = found.get(entry.catalog_id)
        if playbook is None or isinstance(playbook, PlaybookNotUsable):
            return OpenJoins(joins=[])
        joins = waiting_joins(entry.execution.state, playbook)
        rows = await self._store.load_rows(
            [(execution_id, join.position) for join in joins if join.position]
        )
        times = {row.position: _time(row) for row in rows.get(execution_id, ())}
        return OpenJoins(
            joins=[
                OpenJoin(
                    step=join.step,
                    arrived=list(join.arrived),
                    awaited=list(join.awaited),
                    since=times.get(join.position),
                )
                for join in joins
            ]
        )


def _time(row: EventRow) -> str:
    return rfc3339(row.created_at)

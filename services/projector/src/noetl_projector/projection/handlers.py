"""The read model moved or rebuilt on request, one function per operation (P3)."""

from datetime import timedelta

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.rpc.projector import (
    PROJECTION_ADVANCE,
    PROJECTION_REBUILD,
    AdvanceExecutions,
    RebuildPage,
)

from noetl_projector.projection.store import ProjectionStore
from noetl_projector.settings import Settings

_MOST_ROWS = 5000


class ProjectionHandlers(Handlers):
    """`projection.advance` and `projection.rebuild`."""

    def __init__(self, store: ProjectionStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    @answers(PROJECTION_ADVANCE)
    async def on_advance(self, request: AdvanceExecutions) -> AdvanceAnswer:
        """Move the named executions to the positions of their logs; without names all that lag."""
        ids = request.execution_ids
        if ids is None:
            reach = timedelta(seconds=self._settings.sweep_first_reach_seconds)
            since = await self._store.read_clock() - reach
            ids = await self._store.find_lagging(ended_after=since, limit=_bounded(request.limit))
        moved = await self._store.move_executions(ids) if ids else 0
        return AdvanceAnswer(advanced=moved, checked=len(ids))

    @answers(PROJECTION_REBUILD)
    async def on_rebuild(self, request: RebuildPage) -> RebuildAnswer:
        """Rewrite one page of the read model; after the last page recompute the counters."""
        page = await self._store.rebuild_page(after=request.after, limit=_bounded(request.limit))
        if page.after is None:
            await self._store.recount()
        return page


def _bounded(limit: int) -> int:
    return max(1, min(limit, _MOST_ROWS))

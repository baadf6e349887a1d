"""The state of an execution at any event of its log, one function per operation."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from noetl_bus.rpc import Encoded, Handlers, answers, encoded
from noetl_contract.http.executions.replay import ReplayAnswer
from noetl_contract.http.masking import masked
from noetl_contract.rpc.projector import REPLAY_STATE, ReplayRequest

from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.replay.fold import ReplayRow, replayed
from noetl_projector.replay.store import ReplayStore


class ReplayHandlers(Handlers):
    """One method per operation."""

    def __init__(self, store: ReplayStore, *, secrets: KnownSecrets) -> None:
        self._store = store
        self._secrets = secrets

    @answers(REPLAY_STATE)
    async def on_replay(self, request: ReplayRequest) -> Encoded[ReplayAnswer]:
        """Fold a log up to a cutoff."""
        moment = request.as_of_time
        rows = await self._store.read_rows(
            request.execution_id,
            event_id=request.as_of_event_id,
            position=request.as_of_position,
            moment=None if moment is None else datetime.fromisoformat(moment),
            limit=request.limit,
        )
        secrets = await self._secrets.of(request.execution_id)
        return await asyncio.to_thread(_answer, rows, request, secrets)


def _answer(
    rows: Sequence[ReplayRow], request: ReplayRequest, secrets: Sequence[str]
) -> Encoded[ReplayAnswer]:
    shown = [
        replace(row, reference=masked(row.reference, secrets), meta=masked(row.meta, secrets))
        for row in rows
    ]
    body = replayed(
        shown,
        execution_id=request.execution_id,
        tenant_id=request.tenant_id,
        organization_id=request.organization_id,
        projection=request.projection,
    )
    return encoded(REPLAY_STATE, body)

"""Reads of waits, one function per operation."""

from collections.abc import Sequence
from datetime import UTC

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.executions.waits import WaitEntry, WaitList
from noetl_contract.http.masking import masked
from noetl_contract.http.moments import rfc3339
from noetl_contract.rpc.projector import WAITS_LIST, WaitsPage
from noetl_contract.waits.form import in_order

from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.waits.store import OpenWait, WaitStore

_MOST = 500


class WaitHandlers(Handlers):
    """Answers from the timers of waits, which exist exactly as long as they are open."""

    def __init__(self, store: WaitStore, *, secrets: KnownSecrets) -> None:
        self._store = store
        self._secrets = secrets

    @answers(WAITS_LIST)
    async def on_list(self, request: WaitsPage) -> WaitList:
        """List open waits, the oldest first."""
        limit = min(max(request.limit, 1), _MOST)
        found = await self._store.list_waits(
            after=request.after,
            execution_id=request.execution_id,
            path=None if request.path is None else request.path.strip("/"),
            signal=request.signal,
            kind=request.kind,
            stems=None if request.principal is None else request.principal.stems(),
            limit=limit + 1,
        )
        page = found[:limit]
        secrets = await self._secrets.of_many(wait.execution_id for wait in page)
        waits = [_entry(wait, secrets.get(wait.execution_id, ())) for wait in page]
        following = str(page[-1].event_id) if len(found) > limit else None
        return WaitList(waits=waits, next=following)


def _entry(wait: OpenWait, secrets: Sequence[str]) -> WaitEntry:
    shown = masked(wait.context, secrets)
    said = shown if isinstance(shown, dict) else {}
    return WaitEntry(
        wait_id=str(wait.event_id),
        execution_id=wait.execution_id,
        path=wait.path,
        version=wait.version,
        step=wait.step,
        iteration=wait.iteration,
        kind=said.get("kind", "wait"),
        signal=said.get("signal") or None,
        title=said.get("title") or "",
        description=said.get("description") or "",
        form=in_order(said.get("form"), said.get("fields")),
        on_timeout=said.get("on_timeout"),
        since=rfc3339(wait.created_at.replace(tzinfo=UTC)),
        due_at=said.get("due_at") or "",
    )

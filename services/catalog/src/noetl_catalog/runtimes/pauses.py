"""Pauses of paths and pools; orchestrators are notified of each change."""

from noetl_bus.broker import Bus
from noetl_bus.rpc import Handlers, answers
from noetl_contract.hints import ChangeHint
from noetl_contract.http.workers.pauses import (
    Pause,
    PauseLifted,
    PauseList,
    PausePut,
    PauseTarget,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import PAUSE_LIFT, PAUSE_LIST, PAUSE_PUT
from noetl_contract.rpc.models import Nothing
from noetl_contract.subjects import PAUSE_HINT, pool_segment
from noetl_pg.database import Store

_MOST = 1000


class PauseStore(Store):
    """Statements on pauses, one method each."""

    async def put(self, wanted: PausePut) -> Pause | None:
        """Store a pause; return None if there are too many."""
        who = wanted.principal
        actor = None if who is None else f"{who.kind}:{who.name}"
        row = await self._db.fetchrow(
            "put_pause", wanted.kind, wanted.name, wanted.reason, actor, _MOST
        )
        return Pause(**row) if row else None

    async def lift(self, target: PauseTarget) -> bool:
        """Delete a pause; return False if it doesn't exist."""
        return await self._db.fetchval("lift_pause", target.kind, target.name) is not None

    async def all(self) -> list[Pause]:
        """Return all pauses."""
        return [Pause(**row) for row in await self._db.fetch("list_pauses")]


class PauseHandlers(Handlers):
    """Operations on pauses of paths and pools."""

    def __init__(self, store: PauseStore, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    @answers(PAUSE_PUT)
    async def on_put(self, wanted: PausePut) -> Pause | Refusal:
        """Pause a path or a pool; a repeated request replaces the reason."""
        named = wanted.model_copy(update={"name": _name(wanted)})
        pause = await self._store.put(named)
        if pause is None:
            return Refusal(422, f"There are {_MOST} pauses already")
        await self._notify()
        return pause

    @answers(PAUSE_LIFT)
    async def on_lift(self, target: PauseTarget) -> PauseLifted:
        """Lift a pause."""
        lifted = await self._store.lift(target.model_copy(update={"name": _name(target)}))
        if lifted:
            await self._notify()
        return PauseLifted(lifted=lifted)

    @answers(PAUSE_LIST)
    async def on_list(self, _request: Nothing) -> PauseList:
        """List all pauses."""
        return PauseList(pauses=await self._store.all())

    async def _notify(self) -> None:
        await self._bus.send(PAUSE_HINT, ChangeHint().to_json())


def _name(target: PauseTarget) -> str:
    """Return the name in the form of commands: a path without slashes at its ends, or a pool."""
    if target.kind == "path":
        return target.name.strip("/") or target.name
    return pool_segment(execution_pool=target.name, playbook_path=None)

"""Children of commands: a command that is issued again finds its children (L6)."""

from noetl_common.logging import get_logger
from noetl_common.pg.database import Database
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.orchestrator import ChildRequest, ChildReserved

from noetl_orchestrator.settings import Settings

_log = get_logger()

_TRIES = 20
_ENDED = "Command already reached terminal state"


class Children:
    """Answer ``noetl_rpc.orchestrator.<shard>.child`` on the parent's shard."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database.with_statements(__package__, "children.sql")
        self._settings = settings

    async def on_child(self, request: ChildRequest) -> ChildReserved | Refusal:
        """Return the id to start, new or known.

        The start is the same for both: an existing execution repeats its first answer.
        """
        if (foreign := self._settings.refuse_foreign(request.execution_id)) is not None:
            return foreign
        child_id = request.child_id
        if request.event_id is not None:
            reserved = await self._reserve(request)
            if isinstance(reserved, Refusal):
                return reserved
            child_id = reserved
        if self._settings.refuse_foreign(child_id) is None:
            return ChildReserved(child_id=child_id, trace=None)
        if request.event_id is None:
            # Noted, so that a cascading cancel reaches it on its shard.
            await self._db.execute(
                "note_child", request.execution_id, request.child_id, request.path
            )
        origin = await self._db.fetchrow("find_origin", request.execution_id)
        taken_over = {} if origin is None else dict(origin)
        return ChildReserved(child_id=child_id, **taken_over)

    async def _reserve(self, request: ChildRequest) -> int | Refusal:
        """Find or note the child of a command."""
        for _ in range(_TRIES):
            found = await self._db.fetchrow(
                "reserve_child",
                request.execution_id,
                request.event_id,
                request.path,
                request.payload_digest,
                request.child_id,
            )
            if found is None:
                return request.child_id  # purged or unknown: a start like any other
            if not found["is_open"]:
                # The run is over, whatever the worker believes: nothing would wait for the child.
                return Refusal(409, _ENDED, {"code": "already_terminal", "message": _ENDED})
            child_id: int | None = found["child_id"]
            if child_id is not None:
                if child_id != request.child_id:
                    _log.info("child_found_again", child_id=child_id, event_id=request.event_id)
                return child_id
            # Another start took the found child at the same moment.
        return Refusal(503, "The child could not be told from others started now")

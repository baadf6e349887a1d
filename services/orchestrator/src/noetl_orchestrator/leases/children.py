"""Children of commands: a command that is issued again finds its children (L6)."""

from noetl_common.bus.rpc import Handler, handle
from noetl_common.logging import get_logger
from noetl_common.pg.database import Database
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.orchestrator import CHILD, ChildRequest, ChildReserved
from noetl_contract.sharding import shard_for

_log = get_logger()

_TRIES = 20
_ENDED = "Command already reached terminal state"


class Children:
    """The children of commands, on the parent's shard; one statement per method."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "children.sql")

    async def reserve(self, request: ChildRequest, event_id: int) -> tuple[bool, int | None] | None:
        """Find or note a child; return whether the command is open, and the child's id.

        Return None for an unknown command, and no id if another start took the found child at
        the same moment.
        """
        row = await self._db.fetchrow(
            "reserve_child",
            request.execution_id,
            event_id,
            request.path,
            request.payload_digest,
            request.child_id,
        )
        return None if row is None else (row["is_open"], row["child_id"])

    async def note(self, request: ChildRequest) -> None:
        """Note a child on another shard, so that a cascading cancel reaches it."""
        await self._db.execute("note_child", request.execution_id, request.child_id, request.path)

    async def trace_of(self, execution_id: int) -> Json:
        """Return the trace that an execution was started with, if any."""
        return await self._db.fetchval("find_trace", execution_id)


class ChildHandler:
    """Answer ``noetl_rpc.orchestrator.<shard>.child``."""

    def __init__(self, children: Children, *, shard: int, shard_count: int) -> None:
        self._children = children
        self._shard = shard
        self._shard_count = shard_count

    def handlers(self) -> list[Handler]:
        """Return the handler of the operation."""
        return [handle(CHILD, self.on_child)]

    async def on_child(self, request: ChildRequest) -> ChildReserved | Refusal:
        """Return the id to start, new or known.

        The start is the same for both: an existing execution repeats its first answer.
        """
        if not self._is_ours(request.execution_id):
            return Refusal(503, f"Execution {request.execution_id} is not of this shard")
        child_id = request.child_id
        if request.event_id is not None:
            reserved = await self._reserve(request, request.event_id)
            if isinstance(reserved, Refusal):
                return reserved
            child_id = reserved
        if self._is_ours(child_id):
            return ChildReserved(child_id=child_id, trace=None)
        if request.event_id is None:
            await self._children.note(request)
        trace = await self._children.trace_of(request.execution_id)
        return ChildReserved(child_id=child_id, trace=trace)

    def _is_ours(self, execution_id: int) -> bool:
        return shard_for(execution_id, shard_count=self._shard_count) == self._shard

    async def _reserve(self, request: ChildRequest, event_id: int) -> int | Refusal:
        for _ in range(_TRIES):
            found = await self._children.reserve(request, event_id)
            if found is None:
                return request.child_id  # purged or unknown: a start like any other
            is_open, child_id = found
            if not is_open:
                # The run is over, whatever the worker believes: nothing would wait for the child.
                return Refusal(409, _ENDED, {"code": "already_terminal", "message": _ENDED})
            if child_id is not None:
                if child_id != request.child_id:
                    _log.info("child_found_again", child_id=child_id, event_id=event_id)
                return child_id
        return Refusal(503, "The child could not be told from others started now")

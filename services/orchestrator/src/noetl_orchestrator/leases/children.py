"""Children of commands: a command that is issued again finds its children (L6)."""

import asyncpg
from noetl_common.logging import get_logger
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import ChildRequest, RpcReply
from noetl_contract.sharding import shard_for

type _Pool = asyncpg.Pool[asyncpg.Record]

_log = get_logger()

_TRIES = 20
_ENDED = "Command already reached terminal state"


class Children:
    """The children of commands, on the parent's shard; one statement per method."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._queries = Queries.load(__package__, "children.sql")

    async def reserve(self, request: ChildRequest, event_id: int) -> tuple[bool, int | None] | None:
        """Find or note a child; return whether the command is open, and the child's id.

        Return None for an unknown command, and no id if another start took the found child at
        the same moment.
        """
        async with translate():
            row = await self._pool.fetchrow(
                self._queries["reserve_child"],
                request.execution_id,
                event_id,
                request.path,
                request.payload_digest,
                request.child_id,
            )
        return None if row is None else (row["is_open"], row["child_id"])

    async def note(self, request: ChildRequest) -> None:
        """Note a child on another shard, so that a cascading cancel reaches it."""
        async with translate():
            await self._pool.execute(
                self._queries["note_child"], request.execution_id, request.child_id, request.path
            )

    async def trace_of(self, execution_id: int) -> Json:
        """Return the trace that an execution was started with, if any."""
        async with translate():
            return await self._pool.fetchval(self._queries["find_trace"], execution_id)


class ChildHandler:
    """Answer ``noetl_rpc.orchestrator.<shard>.child``."""

    def __init__(self, children: Children, *, shard: int, shard_count: int) -> None:
        self._children = children
        self._shard = shard
        self._shard_count = shard_count

    async def __call__(self, request: JsonObject) -> RpcReply:
        """Return the id to start, new or known.

        The start is the same for both: an existing execution repeats its first answer.
        """
        child = ChildRequest.model_validate(request)
        if shard_for(child.execution_id, shard_count=self._shard_count) != self._shard:
            text = f"Execution {child.execution_id} is not of this shard"
            return RpcReply(status=503, error=text)
        child_id = child.child_id
        if child.event_id is not None:
            reserved = await self._reserve(child, child.event_id)
            if isinstance(reserved, RpcReply):
                return reserved
            child_id = reserved
        is_elsewhere = shard_for(child_id, shard_count=self._shard_count) != self._shard
        if child.event_id is None and is_elsewhere:
            await self._children.note(child)
        trace = await self._children.trace_of(child.execution_id) if is_elsewhere else None
        return RpcReply(body={"child_id": child_id, "trace": trace})

    async def _reserve(self, child: ChildRequest, event_id: int) -> int | RpcReply:
        for _ in range(_TRIES):
            found = await self._children.reserve(child, event_id)
            if found is None:
                return child.child_id  # purged or unknown: a start like any other
            is_open, child_id = found
            if not is_open:
                # The run is over, whatever the worker believes: nothing would wait for the child.
                detail = {"code": "already_terminal", "message": _ENDED}
                return RpcReply(status=409, error=_ENDED, detail=detail)
            if child_id is not None:
                if child_id != child.child_id:
                    _log.info("child_found_again", child_id=child_id, event_id=event_id)
                return child_id
        return RpcReply(status=503, error="The child could not be told from others started now")

"""Children of commands: a command that is issued again finds its children (L6)."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import Unavailable
from noetl_common.logging import get_logger
from noetl_contract.events import ExecutionStatus
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.orchestrator import ChildRequest, ChildReserved
from noetl_contract.rpc.projector import EXECUTIONS_STATES, ExecutionNames
from noetl_contract.sharding import shard_for
from noetl_pg.database import Database

from noetl_orchestrator.settings import Settings

_log = get_logger()

_TRIES = 20
_SECONDS = 2.0
_ENDED = "Command already reached terminal state"

type FindCompleted = Callable[[Sequence[int]], Awaitable[list[int]]]
"""Return those of some executions on other shards that have completed.

Raises:
    Unavailable: a shard doesn't answer.
"""


async def none_completed(_execution_ids: Sequence[int]) -> list[int]:
    """Return no execution: with one shard only, there is none on another."""
    return []


def completed_elsewhere(rpc: RpcClient, *, shard_count: int) -> FindCompleted:
    """Return a function that asks the projectors of the shards."""

    async def find(execution_ids: Sequence[int]) -> list[int]:
        by_shard: dict[int, list[int]] = defaultdict(list)
        for one in execution_ids:
            by_shard[shard_for(one, shard_count=shard_count)].append(one)
        states: dict[str, str] = {}
        for shard, ids in by_shard.items():
            names = ExecutionNames(execution_ids=ids)
            try:
                answer = await rpc.ask(EXECUTIONS_STATES, names, shard=shard, seconds=_SECONDS)
            except (RpcRefused, RpcUnavailable) as error:
                raise Unavailable(what=f"the projector of shard {shard}") from error
            states |= answer.states
        done = ExecutionStatus.COMPLETED
        return [one for one in execution_ids if states.get(str(one)) == done]

    return find


class Children:
    """Answer ``noetl_rpc.orchestrator.<shard>.child`` on the parent's shard.

    Attributes:
        find_completed: asks other shards for children of a restarted execution's origin.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database.with_statements(__package__, "children.sql")
        self._settings = settings
        self.find_completed: FindCompleted = none_completed

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
        is_near = self._settings.refuse_foreign(child_id) is None
        if request.event_id is None and not is_near:
            # Noted, so that a cascading cancel reaches it on its shard.
            await self._db.execute(
                "note_child", request.execution_id, request.child_id, request.path
            )
        origin = await self._db.fetchrow("find_origin", request.execution_id)
        taken_over = {} if origin is None else dict(origin)
        if is_near:
            # The rest is read with the start; the edge decides by these what a command may start.
            taken_over = {name: taken_over.get(name) for name in ("owner", "namespace")}
        return ChildReserved(child_id=child_id, **taken_over)

    async def _reserve(self, request: ChildRequest) -> int | Refusal:
        """Find or note the child of a command."""
        completed: list[int] | None = None
        for _ in range(_TRIES):
            found = await self._db.fetchrow(
                "reserve_child",
                request.execution_id,
                request.event_id,
                request.path,
                request.payload_digest,
                request.child_id,
                completed,
            )
            if found is None:
                return request.child_id  # purged or unknown: a start like any other
            if not found["is_open"]:
                # The run is over, whatever the worker believes: nothing would wait for the child.
                return Refusal(409, _ENDED, {"code": "already_terminal", "message": _ENDED})
            if found["unknown"]:
                try:
                    completed = await self.find_completed(found["unknown"])
                except Unavailable as error:
                    # A new child would repeat the work of a completed one.
                    return Refusal(503, f"Children of the origin can't be looked up: {error}")
                continue
            child_id: int | None = found["child_id"]
            if child_id is not None:
                if child_id != request.child_id:
                    _log.info("child_found_again", child_id=child_id, event_id=request.event_id)
                return child_id
            # Another start took the found child at the same moment.
        return Refusal(503, "The child could not be told from others started now")

"""Checks that an execution is in a caller's reach."""

from collections.abc import Callable

from noetl_contract.access.principal import Principal
from noetl_contract.rpc.projector import (
    COMMAND_STANDING,
    EXECUTIONS_EXISTS,
    CommandName,
    CommandStanding,
    ExecutionExists,
    ExecutionName,
)

from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

_MOST = 10_000
_PLACE_SECONDS = 600.0
_OPEN_SECONDS = 5.0
_OVER_SECONDS = 60.0
# An unknown execution may be just about to begin.
_UNKNOWN_SECONDS = 2.0
_OVER = CommandStanding(is_open=False, path="")


class Reach:
    """Look up places of executions, cached: their path and parent never change.

    Args:
        services: gives the services behind the edge; raises a refusal while they are awaited.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._places: Memory[int, ExecutionExists] = Memory(_MOST)
        self._standings: Memory[tuple[int, int], CommandStanding] = Memory(_MOST)

    async def has_execution(
        self, principal: Principal, execution_id: int, *, is_read: bool = True
    ) -> bool:
        """Return whether a caller reaches an execution.

        A command reaches its own one, and reads the children that it has started and what its own
        one goes on from, with the children of that.

        Raises:
            Refusal: 503, its shard can't answer now.
        """
        if principal.kind == "capability":
            if execution_id == principal.execution_id:
                return True
            if not is_read:
                return False
            place = await self._place(execution_id)
            if place.exists and place.parent_execution_id == principal.execution_id:
                return True
            own = await self._place(principal.execution_id or 0)
            return place.exists and not {execution_id, place.parent_execution_id}.isdisjoint(
                own.origin_execution_ids
            )
        if principal.is_whole:
            return True
        place = await self._place(execution_id)
        return place.path is not None and principal.reaches(place.path)

    async def is_open(self, command: Principal) -> bool:
        """Return whether the command of a capability still waits or runs.

        Raises:
            Refusal: 503, it can't be found out now.
        """
        return (await self.standing(command)).is_open

    async def standing(self, command: Principal) -> CommandStanding:
        """Return whether a command is open, and the path of its execution.

        Raises:
            Refusal: 503, it can't be found out now.
        """
        execution_id, event_id = command.execution_id or 0, command.event_id or 0
        known = self._standings.get((execution_id, event_id))
        if known is not None:
            return known
        wanted = CommandName(event_id=event_id, execution_id=execution_id)
        try:
            with as_the_edge():
                found = await self._services().ask(
                    COMMAND_STANDING, wanted, execution_id=execution_id
                )
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            found, seconds = _OVER, _UNKNOWN_SECONDS
        else:
            seconds = _OPEN_SECONDS if found.is_open else _OVER_SECONDS
        self._standings.put((execution_id, event_id), found, seconds=seconds)
        return found

    async def _place(self, execution_id: int) -> ExecutionExists:
        known = self._places.get(execution_id)
        if known is not None:
            return known
        with as_the_edge():
            found = await self._services().ask(
                EXECUTIONS_EXISTS,
                ExecutionName(execution_id=execution_id),
                execution_id=execution_id,
            )
        if found.exists:
            self._places.put(execution_id, found, seconds=_PLACE_SECONDS)
        return found

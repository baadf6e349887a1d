"""Executions, subscriptions and commands that belong to this installation."""

import asyncio
from collections.abc import Awaitable, Callable

from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services
from noetl_contract.rpc.projector import (
    COMMAND_GET,
    EXECUTIONS_EXISTS,
    SUBSCRIPTION_GET,
    CommandName,
    ExecutionName,
    SubscriptionName,
)

_MOST = 50_000
_OURS_SECONDS = 3600.0
# One that nobody knows may be on its way.
_UNKNOWN_SECONDS = 2.0


class Homes:
    """Knows the executions and commands that began here: that never changes.

    Args:
        services: gives the services behind the edge; raises a refusal while they are awaited.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._executions: Memory[int, bool] = Memory(_MOST)
        self._commands: Memory[int, bool] = Memory(_MOST)

    async def has_execution(self, number: int) -> bool:
        """Return whether an execution or subscription began here.

        Raises:
            Refusal: 503, it can't be found out now.
        """
        known = self._executions.get(number)
        if known is None:
            known = await self._find_execution(number)
            seconds = _OURS_SECONDS if known else _UNKNOWN_SECONDS
            self._executions.put(number, known, seconds=seconds)
        return known

    async def has_command(self, event_id: int) -> bool:
        """Return whether the event that issued a command is one of this installation.

        Raises:
            Refusal: 503, it can't be found out now.
        """
        known = self._commands.get(event_id)
        if known is None:
            services, wanted = self._services(), CommandName(event_id=event_id)
            with as_the_edge():
                known = await _is_there(services.forward_anywhere(COMMAND_GET, wanted))
            seconds = _OURS_SECONDS if known else _UNKNOWN_SECONDS
            self._commands.put(event_id, known, seconds=seconds)
        return known

    async def _find_execution(self, number: int) -> bool:
        services = self._services()
        wanted, same = ExecutionName(execution_id=number), SubscriptionName(subscription_id=number)
        with as_the_edge():
            found, is_subscription = await asyncio.gather(
                services.ask(EXECUTIONS_EXISTS, wanted, execution_id=number),
                _is_there(services.forward(SUBSCRIPTION_GET, same, execution_id=number)),
            )
        return found.exists or is_subscription


async def _is_there(asked: Awaitable[object]) -> bool:
    try:
        await asked
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return False
    return True

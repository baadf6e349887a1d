"""Triggers: what ends of executions start, as the catalog has answered."""

from collections.abc import Sequence

from noetl_common.bus.rpc import RpcClient
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.rpc.catalog import TRIGGERS
from noetl_contract.rpc.models import Nothing

_LIST_SECONDS = 2.0


class Triggers:
    """The triggers in force, from the catalog's last answer."""

    def __init__(self, known: Sequence[EndedTrigger] = ()) -> None:
        self.known = tuple(known)

    async def ask(self, rpc: RpcClient) -> None:
        """Refresh the triggers from the catalog; the known ones stay when it doesn't answer.

        Raises:
            NoetlError: no answer.
        """
        answer = await rpc.ask(TRIGGERS, Nothing(), seconds=_LIST_SECONDS)
        self.known = tuple(answer.triggers)

"""Look-ups at the catalog for ends of executions: triggers, and playbooks by path."""

from collections.abc import Awaitable, Callable, Sequence

from noetl_common.bus.rpc import RpcClient, RpcRefused
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.rpc.catalog import RESOLVE, TRIGGERS, EntryName, ResolvedEntry
from noetl_contract.rpc.models import Nothing

_log = get_logger()
_RESOLVE_SECONDS = 2.0
_LIST_SECONDS = 2.0
_FINAL = range(400, 500)

type ResolvePath = Callable[[str, int | None], Awaitable[ResolvedEntry | str | None]]
"""Return the version of a path, why there is none, or None when a later try may succeed."""


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


def catalog_paths(rpc: RpcClient) -> ResolvePath:
    """Return a function that asks the catalog for the version of a path."""

    async def resolve(path: str, version: int | None) -> ResolvedEntry | str | None:
        try:
            name = EntryName(path=path, version=version)
            return await rpc.ask(RESOLVE, name, seconds=_RESOLVE_SECONDS)
        except RpcRefused as error:
            return error.message if error.status in _FINAL else None
        except NoetlError as error:
            _log.warning("path_not_resolved", path=path, error=error.message)
            return None

    return resolve


async def no_paths(path: str, _version: int | None) -> ResolvedEntry | str | None:
    """Return that the playbook isn't found: there is no catalog."""
    return f"Playbook not found: {path}"

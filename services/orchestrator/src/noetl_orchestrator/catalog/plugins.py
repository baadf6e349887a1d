"""The versions of plug-ins that executions keep from their start, as the catalog gives them."""

from collections.abc import Awaitable, Callable, Sequence

from noetl_common.bus.rpc import RpcClient
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject
from noetl_contract.plugins.requests import PluginNames
from noetl_contract.rpc.catalog import PLUGIN_PINS

_log = get_logger()
# Other executions of the turn wait as long.
_SECONDS = 0.5

type AskPlugins = Callable[[Sequence[str], str | None], Awaitable[JsonObject | None]]
"""Return the versions of plug-ins by their names, or None when a later try may succeed."""


def catalog_plugins(rpc: RpcClient) -> AskPlugins:
    """Return a function that asks the catalog for the current versions of plug-ins."""

    async def ask(names: Sequence[str], namespace: str | None) -> JsonObject | None:
        try:
            wanted = PluginNames(names=list(names), namespace=namespace)
            answer = await rpc.ask(PLUGIN_PINS, wanted, seconds=_SECONDS)
        except NoetlError as error:
            _log.warning("plugins_not_resolved", names=list(names)[:10], error=error.message)
            return None
        return {name: pin.model_dump() for name, pin in answer.pins.items()}

    return ask


async def no_plugins(_names: Sequence[str], _namespace: str | None) -> JsonObject | None:
    """Return no versions: without a catalog there are no plug-ins."""
    return {}

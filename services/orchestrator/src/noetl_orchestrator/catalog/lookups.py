"""Look-ups at the catalog: playbooks, versions of paths and of plug-ins, triggers."""

from collections.abc import Sequence

from noetl_bus.rpc import RpcClient, RpcRefused
from noetl_common.errors import NoetlError, Permanent, Transient
from noetl_common.logging import get_logger
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import JsonObject
from noetl_contract.plugins.requests import PluginNames
from noetl_contract.rpc.catalog import (
    CONTENT,
    PLUGIN_PINS,
    RESOLVE,
    TRIGGERS,
    ContentRequest,
    EntryName,
    ResolvedEntry,
)
from noetl_contract.rpc.models import Nothing

_log = get_logger()
_CONTENT_SECONDS = 5.0
_LIST_SECONDS = 2.0
_RESOLVE_SECONDS = 2.0
# Other executions of the turn wait as long.
_PLUGINS_SECONDS = 0.5
_NOT_USABLE = frozenset({404, 410, 422})
_FINAL = range(400, 500)


class PlaybookNotUsable(Permanent):
    """A version that does not exist or can't be parsed, with status and text of the answer.

    ``hint`` is the exact reason, where the text is too general.
    """

    template = "{reason}"

    def __init__(self, *, reason: str, status: int = 422, hint: str | None = None) -> None:
        super().__init__(reason=reason)
        self.message = reason
        self.http_status = status
        self.hint = hint


class Catalog:
    """The catalog service, as turns ask it."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    async def content(self, catalog_id: int) -> str:
        """Return the text of a version.

        Raises:
            PlaybookNotUsable: there is none.
            Transient: a later try may succeed.
        """
        request = ContentRequest(catalog_id=catalog_id)
        try:
            found = await self._rpc.ask(CONTENT, request, seconds=_CONTENT_SECONDS)
        except RpcRefused as error:
            if error.status in _NOT_USABLE:
                raise PlaybookNotUsable(reason=error.message, status=error.status) from error
            raise Transient(
                "the catalog answered {status}: {reason}", status=error.status, reason=error.message
            ) from error
        return found.content

    async def resolve(self, path: str, version: int | None) -> ResolvedEntry | str | None:
        """Return the version of a path, why there is none, or None when a later try may succeed."""
        try:
            name = EntryName(path=path, version=version)
            return await self._rpc.ask(RESOLVE, name, seconds=_RESOLVE_SECONDS)
        except RpcRefused as error:
            return error.message if error.status in _FINAL else None
        except NoetlError as error:
            _log.warning("path_not_resolved", path=path, error=error.message)
            return None

    async def pin_plugins(self, names: Sequence[str], namespace: str | None) -> JsonObject | None:
        """Return the versions of plug-ins by their names, or None when a later try may succeed."""
        try:
            wanted = PluginNames(names=list(names), namespace=namespace)
            answer = await self._rpc.ask(PLUGIN_PINS, wanted, seconds=_PLUGINS_SECONDS)
        except NoetlError as error:
            _log.warning("plugins_not_resolved", names=list(names)[:10], error=error.message)
            return None
        return {name: pin.model_dump() for name, pin in answer.pins.items()}


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

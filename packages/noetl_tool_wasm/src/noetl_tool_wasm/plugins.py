"""Look-up of plug-ins at the edge; a version never changes, so it is kept while there is room."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from noetl_common.retry import retry
from noetl_contract.plugins.document import BadPlugin, PluginBody, module_bytes
from noetl_contract.plugins.interface import INTERFACES
from noetl_contract.plugins.names import PluginPin
from noetl_worker.bounded_http import AnswerTooLarge
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from pydantic import ValidationError

_LATER: Final = frozenset({408, 429, 502, 503, 504})
_SECONDS: Final = 20.0
_TRIES_SECONDS: Final = 60.0
_TRIES: Final = 5
_MISSING: Final = 404
# What a document has beside its module, and base64 in place of bytes.
_BESIDE: Final = 64 << 10


class PluginMissing(Exception):
    """A plug-in can't be had.

    Attributes:
        is_unreachable: Whether a later try may succeed.
    """

    def __init__(self, message: str, *, is_unreachable: bool = False) -> None:
        super().__init__(message)
        self.is_unreachable = is_unreachable


class _Later(Exception):
    """The edge can't answer now."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in with the bytes of its module, or its text."""

    body: PluginBody
    module: bytes

    @property
    def named(self) -> str:
        """Path and version."""
        return f"{self.body.path}@{self.body.version}"


class Plugins:
    """Asks for plug-ins by id and digest, each once."""

    def __init__(self, edge: Edge, *, kept: int, most: int) -> None:
        self._edge = edge
        self._kept = kept
        self._most = most
        self._known: OrderedDict[tuple[int, str], asyncio.Future[Plugin]] = OrderedDict()
        self._ask = retry(
            on=_Later,
            attempts=_TRIES,
            timeout_seconds=_TRIES_SECONDS,
            wait_initial_seconds=0.25,
        )(self._ask_once)

    async def find(self, pin: PluginPin, *, execution_id: int, server_url: str) -> Plugin:
        """Return a plug-in.

        Raises:
            PluginMissing: it can't be had.
        """
        key = pin.catalog_id, pin.digest
        known = self._known.get(key)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            known = asyncio.ensure_future(self._ask(pin, execution_id, server_url))
            self._known[key] = known
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        try:
            return await asyncio.shield(known)
        except _Later as error:
            text = f"{pin.path}@{pin.version} can't be read now: {error}"
            raise PluginMissing(text, is_unreachable=True) from error

    async def _ask_once(self, pin: PluginPin, execution_id: int, server_url: str) -> Plugin:
        named = f"{pin.path}@{pin.version}"
        path = f"/api/executions/{execution_id}/plugins/{pin.catalog_id}/{pin.digest}"
        try:
            status, answer = await self._edge.call(
                "GET",
                path,
                None,
                base=server_url or None,
                most=2 * self._most + _BESIDE,
                seconds=_SECONDS,
            )
        except EdgeUnreachable as error:
            raise _Later(str(error)) from error
        except AnswerTooLarge as error:
            raise PluginMissing(f"{named} is too large") from error
        if status in _LATER:
            raise _Later(f"HTTP {status}")
        if status == _MISSING:
            raise PluginMissing(f"{named} is not there any more")
        if status >= 300:
            raise PluginMissing(f"{named}: HTTP {status}")
        return await asyncio.to_thread(_read, named, answer, self._most)


def _read(named: str, answer: bytes, most: int) -> Plugin:
    try:
        body = PluginBody.model_validate_json(answer)
        if body.interface not in INTERFACES:
            known = ", ".join(INTERFACES)
            raise PluginMissing(
                f"{named} has the interface '{body.interface}'; this worker knows {known}"
            )
        return Plugin(body, module_bytes(body.form, body.module, most=most))
    except (ValidationError, BadPlugin) as error:
        raise PluginMissing(f"{named}: {error}") from error

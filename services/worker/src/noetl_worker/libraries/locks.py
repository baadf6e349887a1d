"""Look-up of the locks of steps at the edge."""

import asyncio
from collections import OrderedDict
from typing import Final

from noetl_common.retry import retry
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.libraries.requirements import Requirements
from pydantic import ValidationError

from noetl_worker.bounded_http import AnswerTooLarge
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.libraries.errors import LibrariesFailed

_KEPT: Final = 1000
_LATER: Final = frozenset({408, 429, 502, 503, 504})
_LARGEST: Final = 4 << 20
_SECONDS: Final = 20.0
_TRIES_SECONDS: Final = 60.0
_TRIES: Final = 5


class _Later(Exception):
    """The edge can't answer now."""


class Locks:
    """Asks for the lock of some requirements, once for each execution."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._known: OrderedDict[tuple[int, str], asyncio.Future[LibraryLock | None]] = (
            OrderedDict()
        )
        self._ask = retry(
            on=_Later,
            attempts=_TRIES,
            timeout_seconds=_TRIES_SECONDS,
            wait_initial_seconds=0.25,
        )(self._ask_once)

    async def find(
        self, wanted: Requirements, *, execution_id: int, server_url: str
    ) -> LibraryLock | None:
        """Return the lock of an execution's version; None where it was kept without one.

        Raises:
            LibrariesFailed: it can't be had, or could not be resolved at the registration.
        """
        key = (execution_id, wanted.digest)
        known = self._known.get(key)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            asking = self._ask(wanted, execution_id, server_url)
            known = self._known[key] = asyncio.ensure_future(asking)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        try:
            lock = await asyncio.shield(known)
        except _Later as error:
            text = f"the lock of {wanted} can't be read now: {error}"
            raise LibrariesFailed(text, is_unreachable=True) from error
        if lock is not None and lock.reason is not None:
            raise LibrariesFailed(f"{lock.reason}; register the playbook again")
        return lock if lock is not None and lock.lock is not None else None

    async def _ask_once(
        self, wanted: Requirements, execution_id: int, server_url: str
    ) -> LibraryLock | None:
        path = f"/api/executions/{execution_id}/libraries/{wanted.digest}"
        try:
            status, answer = await self._edge.call(
                "GET", path, None, base=server_url or None, most=_LARGEST, seconds=_SECONDS
            )
        except EdgeUnreachable as error:
            raise _Later(str(error)) from error
        except AnswerTooLarge as error:
            raise LibrariesFailed(f"the lock of {wanted} is too large") from error
        if status in _LATER:
            raise _Later(f"HTTP {status}")
        if status >= 300:
            raise LibrariesFailed(f"the lock of {wanted}: HTTP {status}")
        try:
            return LibraryLock.model_validate_json(answer)
        except ValidationError as error:
            raise LibrariesFailed(f"the lock of {wanted} has another shape") from error

"""Reads of the result store: results for decisions, bodies of large messages."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import NoetlError, Permanent, Unavailable
from noetl_common.logging import get_logger
from noetl_contract.json import Json
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector import RESULT_PART, RESULT_RESOLVE, PartOfResult, ResultRef
from noetl_contract.tools.results import Part, PartPath

from noetl_orchestrator.log.origins import Origins

_log = get_logger()
_SECONDS = 20.0
_PAUSE_SECONDS = 0.5
_AT_ONCE = 4
_OUTLINED_ABOVE = 64 << 10
"""Bytes of a part that is read as a whole although a look into it was asked for."""
_MISSING = 404
_TOO_MANY = 429


type PartName = tuple[str, PartPath]


class NotStored(Permanent):
    """The result store has no such document, and never will."""

    template = "{reason}"


class ResultStore:
    """The documents of a shard, which its projector answers for."""

    def __init__(self, bus: Bus, *, shard: int, seconds: float = _SECONDS) -> None:
        self._rpc = RpcClient(bus)
        self._shard = shard
        self._seconds = seconds

    async def read(self, ref: str) -> Json:
        """Return a document by its reference.

        Raises:
            NotStored: no later try can succeed.
            Unavailable: the result store does not answer.
        """
        return await self._ask(RESULT_RESOLVE, ResultRef(ref=ref))

    async def read_part(self, ref: str, path: PartPath, *, most: int) -> Part:
        """Return a part of a result, or its outline if it has more than so many bytes.

        Raises:
            NotStored: no later try can succeed.
            Unavailable: the result store does not answer.
        """
        request = PartOfResult(ref=ref, path=[*path], most=most)
        return await self._ask(RESULT_PART, request)

    async def _ask[Request: ResultRef | PartOfResult, Answer](
        self, operation: Operation[Request, Answer], request: Request
    ) -> Answer:
        try:
            return await self._rpc.ask(
                operation,
                request,
                shard=self._shard,
                seconds=self._seconds,
                wait_for_responder=True,
            )
        except RpcRefused as error:
            if error.status == _MISSING:
                raise NotStored(reason=f"{request.ref} is not in the result store") from error
            if 400 <= error.status < 500 and error.status != _TOO_MANY:
                # A wrong reference stays wrong.
                raise NotStored(reason=error.message) from error
            raise Unavailable(what="the result store") from error
        except RpcUnavailable as error:
            raise Unavailable(what="the result store") from error


@dataclass(slots=True)
class ReadResults:
    """Results read for the decision on one input, which is then decided anew with them.

    Attributes:
        parts: by the references of their results and their paths.
        withheld: why others can't be had.
        bytes: size of the parts.
    """

    parts: dict[PartName, Part] = field(default_factory=dict)
    withheld: dict[PartName, str] = field(default_factory=dict)
    bytes: int = 0


class ResultReader:
    """Reads results that templates of an execution ask for.

    Args:
        most_bytes: of all results for one decision.
    """

    def __init__(self, store: ResultStore, origins: Origins, *, most_bytes: int) -> None:
        self._store = store
        self._origins = origins
        self._most_bytes = most_bytes
        # Each is held in memory.
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def read(
        self, execution_id: int, wanted: Mapping[PartName, bool], found: ReadResults
    ) -> None:
        """Add parts to those found; parts for which the store doesn't answer are left out.

        Args:
            execution_id: whose decision asks.
            wanted: parts, each with whether an outline of it is not enough.
            found: what was read for the decision before.
        """
        first = next(iter(wanted))
        try:
            foreign = {name for name in wanted if _execution_of(name[0]) != execution_id}
            if foreign:
                known = await self._origins.find_origins(execution_id)
                for name in [name for name in foreign if _execution_of(name[0]) not in known]:
                    found.withheld[name] = "it is of another execution"
            # One place for all of them: those that wait for one hold nothing.
            async with self._room:
                for name in [name for name in wanted if name not in found.withheld]:
                    is_whole = wanted[name]
                    await self._read_one(name, found, is_whole=is_whole, is_asked=name == first)
        except NoetlError as error:
            # The decision asks again.
            _log.warning("result_not_read", execution_id=execution_id, error=error.message)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _read_one(
        self, name: PartName, found: ReadResults, *, is_whole: bool, is_asked: bool
    ) -> None:
        left = max(self._most_bytes - found.bytes, 0)
        if not is_asked and not left:
            return  # a decision that names it asks for it by itself
        ref, path = name
        most = left if is_whole else min(left, _OUTLINED_ABOVE)
        try:
            part = await self._store.read_part(ref, path, most=most)
        except NotStored as error:
            found.withheld[name] = error.message
            return
        outline = part.outline
        if outline is not None and is_whole and part.depth == len(path):
            if is_asked:
                found.withheld[name] = self._reason(outline.bytes, found)
            return
        found.parts[name] = part
        found.bytes += part.bytes

    def _reason(self, size: int, found: ReadResults) -> str:
        more = f", beside {found.bytes} bytes of others" if found.bytes else ""
        return (
            f"it has {size} bytes{more}, and a decision reads {self._most_bytes} at most "
            "(NOETL_DECISION_RESULT_BYTES)"
        )


def _execution_of(ref: str) -> int | None:
    """Return the execution that a reference names."""
    number = ref.partition("://execution/")[2].partition("/")[0]
    return int(number) if number.isdecimal() else None

"""Reads of the result store: results for decisions, bodies of large messages."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import NoetlError, Permanent, Unavailable
from noetl_common.logging import get_logger
from noetl_contract.json import Json, encode
from noetl_contract.rpc.projector import RESULT_RESOLVE, ResultRef

from noetl_orchestrator.log.origins import Origins

_log = get_logger()
_SECONDS = 20.0
_PAUSE_SECONDS = 0.5
_AT_ONCE = 4
_MISSING = 404
_TOO_MANY = 429


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
        try:
            return await self._rpc.ask(
                RESULT_RESOLVE,
                ResultRef(ref=ref),
                shard=self._shard,
                seconds=self._seconds,
                wait_for_responder=True,
            )
        except RpcRefused as error:
            if error.status == _MISSING:
                raise NotStored(reason=f"{ref} is not in the result store") from error
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
        documents: by their references.
        withheld: why others can't be had.
        bytes: size of the documents, as far as their workers have said it.
    """

    documents: dict[str, Json] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
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

    async def read(self, execution_id: int, wanted: Mapping[str, int], found: ReadResults) -> None:
        """Add results to those found; results for which the store doesn't answer are left out.

        Args:
            execution_id: whose decision asks.
            wanted: references with sizes, 0 for unknown ones.
            found: what was read for the decision before.
        """
        first = next(iter(wanted))
        try:
            foreign = {ref for ref in wanted if _execution_of(ref) != execution_id}
            if foreign:
                known = await self._origins.find_origins(execution_id)
                for ref in [ref for ref in foreign if _execution_of(ref) not in known]:
                    found.withheld[ref] = "it is of another execution"
            # One place for all of them: those that wait for one hold nothing.
            async with self._room:
                for ref in _without(wanted, found.withheld):
                    await self._read_one(ref, wanted[ref], found, is_asked=ref == first)
        except NoetlError as error:
            # The decision asks again.
            _log.warning("result_not_read", execution_id=execution_id, error=error.message)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _read_one(self, ref: str, size: int, found: ReadResults, *, is_asked: bool) -> None:
        if not is_asked and found.bytes + size > self._most_bytes:
            return  # a decision that names it asks for it by itself
        if not self._is_too_much(ref, size, found):
            try:
                document = await self._store.read(ref)
            except NotStored as error:
                found.withheld[ref] = error.message
                return
            size = size or len(encode(document))
            if not is_asked and found.bytes + size > self._most_bytes:
                return
            if not self._is_too_much(ref, size, found):
                found.documents[ref] = document
                found.bytes += size

    def _is_too_much(self, ref: str, size: int, found: ReadResults) -> bool:
        most = self._most_bytes
        if found.bytes + size <= most:
            return False
        more = f", beside {found.bytes} bytes of others" if found.bytes else ""
        found.withheld[ref] = (
            f"it has {size} bytes{more}, and a decision reads {most} at most "
            "(NOETL_DECISION_RESULT_BYTES)"
        )
        return True


def _without(wanted: Iterable[str], others: Mapping[str, str]) -> list[str]:
    return [ref for ref in wanted if ref not in others]


def _execution_of(ref: str) -> int | None:
    """Return the execution that a reference names."""
    number = ref.partition("://execution/")[2].partition("/")[0]
    return int(number) if number.isdecimal() else None

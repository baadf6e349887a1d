"""The access audit: decisions, gathered and sent to the catalog in batches.

Equal decisions of one caller are one record with their number. Decisions about secrets and keys
are stored before the answer.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from noetl_bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.access.audit import AccessRecord, AccessRecords, Decision
from noetl_contract.access.principal import Kind
from noetl_contract.rpc.operation import encode_value
from noetl_contract.subjects import ACCESS_AUDIT

from noetl_api_gateway.http.refusals import Refusal, unavailable
from noetl_api_gateway.metrics import AUDIT_DROPPED

_log = get_logger()

_MOST_WAITING = 10_000
_MOST_IN_BATCH = 500
_INTERVAL_SECONDS = 1.0
_SECONDS = 5.0


class Decided(NamedTuple):
    """A decision about a request, with the fields of `AccessRecord`."""

    principal: str
    kind: Kind
    address: str
    right: str
    method: str
    route: str
    object: str
    outcome: Decision


def new_record_id() -> str:
    """Return an id for a record."""
    return secrets.token_urlsafe(12)


@dataclass(slots=True)
class _Waiting:
    """A decision to be sent, with the count of equal ones; its other fields are the first one's."""

    decided: Decided
    request_id: str
    record_id: str = field(default_factory=new_record_id)
    occurred_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    count: int = 1

    def record(self) -> AccessRecord:
        return AccessRecord.model_construct(
            **self.decided._asdict(),
            record_id=self.record_id,
            occurred_at=self.occurred_at,
            count=self.count,
            request_id=self.request_id,
        )


class AuditTrail:
    """Keep decisions until they are stored.

    Args:
        bus: gives the connection; raises a refusal while there is none.
    """

    def __init__(self, bus: Callable[[], Bus]) -> None:
        self._bus = bus
        self._waiting: OrderedDict[tuple[str, ...], _Waiting] = OrderedDict()
        self._dropped = 0
        self._full = asyncio.Event()

    def note(self, decided: Decided, request_id: str = "") -> None:
        """Keep a decision for the next batch; the oldest is dropped when there is no room."""
        earlier = self._waiting.get(decided)
        if earlier is not None:
            earlier.count += 1
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._drop(self._waiting.popitem(last=False)[1].count)
        self._waiting[decided] = _Waiting(decided, request_id)
        if len(self._waiting) >= _MOST_IN_BATCH:
            self._full.set()

    async def store(self, decided: Decided, request_id: str = "") -> None:
        """Store a decision now.

        Raises:
            Refusal: 503, it can't be stored.
        """
        try:
            await self._publish([_Waiting(decided, request_id)])
        except NoetlError as error:
            raise unavailable("The access audit can't be written") from error

    async def run(self) -> None:
        """Send batches until cancelled, then the last one."""
        try:
            while True:
                try:
                    async with asyncio.timeout(_INTERVAL_SECONDS):
                        await self._full.wait()
                except TimeoutError:
                    pass
                if not await self._send():
                    # However many wait by now: an outage is not asked about with each of them.
                    await asyncio.sleep(_INTERVAL_SECONDS)
        finally:
            await asyncio.shield(self._send())

    async def _send(self) -> bool:
        """Send all waiting decisions; return False when the broker can't take them now."""
        self._full.clear()
        while self._waiting:
            keys = list(self._waiting)[:_MOST_IN_BATCH]
            batch = [self._waiting.pop(key) for key in keys]
            try:
                await self._publish(batch)
            except (NoetlError, Refusal) as error:
                _log.warning("access_audit_not_written", error=str(error), records=len(batch))
                self._keep(batch)
                return False
            except asyncio.CancelledError:
                self._keep(batch)
                raise
        return True

    def _keep(self, batch: list[_Waiting]) -> None:
        """Put an unsent batch back, as far as there is room."""
        too_many = max(0, len(batch) - (_MOST_WAITING - len(self._waiting)))
        for one in batch[:too_many]:
            self._drop(one.count)
        for one in batch[too_many:]:
            # Later decisions become other records: this one may have arrived.
            self._waiting[(one.record_id,)] = one

    def _drop(self, count: int) -> None:
        self._dropped += count
        AUDIT_DROPPED.inc(count)

    async def _publish(self, batch: list[_Waiting]) -> None:
        dropped, self._dropped = self._dropped, 0
        message = AccessRecords(records=[one.record() for one in batch], dropped=dropped)
        try:
            # Repeated by the bus under this id only; the catalog knows records by theirs.
            await self._bus().publish(
                ACCESS_AUDIT, encode_value(message), message_id=new_record_id(), seconds=_SECONDS
            )
        except (NoetlError, Refusal, asyncio.CancelledError):
            self._dropped += dropped
            raise

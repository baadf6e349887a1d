"""The access audit: decisions, gathered and sent to the catalog in batches.

Decisions of one caller that differ in nothing are one record with their number. What concerns
secrets and keys is stored before the answer.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from noetl_common.bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.access.audit import AccessRecord, AccessRecords
from noetl_contract.rpc.operation import encode_value
from noetl_contract.subjects import ACCESS_AUDIT

from noetl_api_gateway.http.refusals import Refusal, unavailable
from noetl_api_gateway.metrics import AUDIT_DROPPED

_log = get_logger()

_MOST_WAITING = 10_000
_MOST_IN_BATCH = 500
_INTERVAL_SECONDS = 1.0
_SECONDS = 5.0


class AuditTrail:
    """Keep decisions until they are stored.

    Args:
        bus: gives the connection; raises a refusal while there is none.
    """

    def __init__(self, bus: Callable[[], Bus]) -> None:
        self._bus = bus
        self._waiting: OrderedDict[tuple[str, ...], AccessRecord] = OrderedDict()
        self._dropped = 0
        self._full = asyncio.Event()

    def note(self, record: AccessRecord) -> None:
        """Keep a decision for the next batch; the oldest is dropped when there is no room."""
        key = (
            record.principal,
            record.kind,
            record.address,
            record.right,
            record.method,
            record.route,
            record.object,
            record.outcome,
        )
        earlier = self._waiting.get(key)
        if earlier is not None:
            record = earlier.model_copy(update={"count": earlier.count + 1})
        elif len(self._waiting) >= _MOST_WAITING:
            self._drop(self._waiting.popitem(last=False)[1].count)
        self._waiting[key] = record
        if len(self._waiting) >= _MOST_IN_BATCH:
            self._full.set()

    async def store(self, record: AccessRecord) -> None:
        """Store a decision now.

        Raises:
            Refusal: 503, it can't be stored.
        """
        try:
            await self._publish([record])
        except NoetlError as error:
            raise unavailable("The access audit can't be written") from error

    async def run(self) -> None:
        """Send batches, until cancelled; the last one goes out then."""
        try:
            while True:
                try:
                    async with asyncio.timeout(_INTERVAL_SECONDS):
                        await self._full.wait()
                except TimeoutError:
                    pass
                await self._send()
        finally:
            await asyncio.shield(self._send())

    async def _send(self) -> None:
        self._full.clear()
        while self._waiting:
            keys = list(self._waiting)[:_MOST_IN_BATCH]
            batch = [self._waiting.pop(key) for key in keys]
            try:
                await self._publish(batch)
            except (NoetlError, Refusal) as error:
                _log.warning("access_audit_not_written", error=str(error), records=len(batch))
                self._keep(batch)
                return

    def _keep(self, batch: list[AccessRecord]) -> None:
        """Put a batch back, where there is room."""
        too_many = max(0, len(batch) - (_MOST_WAITING - len(self._waiting)))
        for record in batch[:too_many]:
            self._drop(record.count)
        for record in batch[too_many:]:
            self._waiting.setdefault((record.record_id,), record)

    def _drop(self, count: int) -> None:
        self._dropped += count
        AUDIT_DROPPED.inc(count)

    async def _publish(self, batch: list[AccessRecord]) -> None:
        dropped, self._dropped = self._dropped, 0
        message = AccessRecords(records=batch, dropped=dropped)
        try:
            # Repeated by the bus under this id only; the catalog knows records by theirs.
            await self._bus().publish(
                ACCESS_AUDIT, encode_value(message), message_id=new_record_id(), seconds=_SECONDS
            )
        except (NoetlError, Refusal):
            self._dropped += dropped
            raise


def new_record_id() -> str:
    """Return an id for a record."""
    return secrets.token_urlsafe(12)


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)

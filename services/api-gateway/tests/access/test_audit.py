"""Decisions on their way to the access audit."""

from typing import Any, cast

from noetl_api_gateway.access.audit import AuditTrail, Decided
from noetl_contract.access.audit import AccessRecords

DECIDED = Decided("ci", "key", "10.0.0.7", "variables.read", "GET", "/api/vars", "", "allowed")


class Broker:
    """Keeps the batches that are published."""

    def __init__(self) -> None:
        self.batches: list[AccessRecords] = []

    async def publish(self, _subject: str, data: bytes, **_options: Any) -> None:
        self.batches.append(AccessRecords.model_validate_json(data))


def trail_to(broker: Broker) -> AuditTrail:
    return AuditTrail(lambda: cast("Any", broker))


async def test_decisions_that_differ_in_nothing_are_one_record() -> None:
    broker = Broker()
    trail = trail_to(broker)
    for request_id in ("first", "second", "third"):
        trail.note(DECIDED, request_id)
    trail.note(DECIDED._replace(outcome="forbidden"))
    await trail._send()

    records = [(one.outcome, one.count, one.request_id) for one in broker.batches[0].records]
    assert records == [("allowed", 3, "first"), ("forbidden", 1, "")]
    assert len({one.record_id for one in broker.batches[0].records}) == 2


async def test_one_that_is_stored_at_once_waits_for_no_batch() -> None:
    broker = Broker()
    await trail_to(broker).store(DECIDED, "mine")

    (record,) = broker.batches[0].records
    assert (record.principal, record.count, record.request_id) == ("ci", 1, "mine")

"""Decisions on their way to the access audit."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from noetl_api_gateway.access.audit import AuditTrail, Decided
from noetl_common.errors import NoetlError
from noetl_contract.access.audit import AccessRecords
from noetl_contract.access.rights import Role
from noetl_contract.subjects import ACCESS_AUDIT
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from ..conftest import EXECUTION_ID, World
from .callers import KEYS, bearer, guarded_world

DECIDED = Decided("ci", "key", "10.0.0.7", "variables.read", "GET", "/api/vars", "", "allowed")
MINE = {"x-request-id": secrets.token_hex(8)}
"""Header that distinguishes decisions from those of other tests on the same broker."""


class Broker:
    """Keeps the published batches, and acknowledges each as `answer` says."""

    def __init__(self) -> None:
        self.batches: list[AccessRecords] = []
        self.answer: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)

    async def publish(self, _subject: str, data: bytes, **_options: Any) -> None:
        self.batches.append(AccessRecords.model_validate_json(data))
        await self.answer()


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


async def test_an_outage_is_not_asked_about_with_every_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("noetl_api_gateway.access.audit._INTERVAL_SECONDS", PATIENCE_SECONDS)

    async def fails() -> None:
        raise NoetlError("The broker is away")

    broker = Broker()
    broker.answer = fails
    trail = trail_to(broker)
    writing = asyncio.create_task(trail.run())
    for number in range(1000):
        trail.note(DECIDED._replace(object=f"execution:{number}"))
        await asyncio.sleep(0)
    broker.answer = lambda: asyncio.sleep(0)
    asked = len(broker.batches)
    writing.cancel()
    await asyncio.wait({writing})

    assert asked == 1
    assert sum(len(batch.records) for batch in broker.batches[1:]) == 1000


async def test_a_batch_on_its_way_at_the_end_is_sent_once_more() -> None:
    broker = Broker()
    broker.answer = asyncio.Event().wait
    trail = trail_to(broker)
    trail.note(DECIDED)
    writing = asyncio.create_task(trail.run())
    await eventually(lambda: bool(broker.batches), what="the batch is on its way")
    broker.answer = lambda: asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait({writing})

    first, last = broker.batches
    assert first.records == last.records


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[list[tuple[str, str, str]]]:
    """Gather right, object and outcome of each decision about requests of this module."""
    found: list[tuple[str, str, str]] = []
    known: set[str] = set()

    def note(message: Any) -> None:
        batch = AccessRecords.model_validate_json(message.data)
        for one in batch.records:
            # A batch whose acknowledgement took long comes again, which the stream would notice.
            if one.request_id == MINE["x-request-id"] and one.record_id not in known:
                known.add(one.record_id)
                found.extend([(one.right, one.object, one.outcome)] * one.count)

    heard = await world.backend.bus.subscribe(ACCESS_AUDIT, note)
    try:
        yield found
    finally:
        await heard.unsubscribe()


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/api/catalog/register", "catalog.register"),
        # Stored before the answer: a refused request must not be stored as allowed.
        ("/api/credentials", "credentials.write"),
    ],
)
async def test_what_comes_too_often_is_limited_and_not_allowed(
    nats_url: str, path: str, right: str
) -> None:
    rates = "registrations 1/min 1, secrets 1/min 1"
    async with guarded_world(nats_url, rate_limits=rates) as world, listening(world) as found:
        headers = bearer(KEYS[Role.ADMIN]) | MINE
        sent = [await world.client.post(path, content=b"{}", headers=headers) for _ in range(3)]
        expected = [(right, "", "allowed"), (right, "", "limited"), (right, "", "limited")]

        assert [one.status_code == 429 for one in sent] == [False, True, True]
        await eventually(lambda: len(found) >= len(expected), what="the decisions are sent")
        assert sorted(found) == expected


async def test_one_stream_too_many_is_limited(nats_url: str) -> None:
    own = bearer(KEYS[Role.VIEWER]) | MINE
    place = f"/api/executions/{EXECUTION_ID}/events/stream"
    limits = {"max_event_streams_per_principal": 1}
    async with guarded_world(nats_url, **limits) as world, listening(world) as found:
        page = {
            "events": [],
            "status": "RUNNING",
            "position": 0,
            "after_position": 0,
            "has_secrets": False,
        }
        world.backend.answer("executions.tail", page)
        async with world.client.stream("GET", place, headers=own) as first:
            second = await world.client.get(place, headers=own)
            limited = ("executions.read", f"execution:{EXECUTION_ID}", "limited")

            assert (first.status_code, second.status_code) == (200, 429)
            await eventually(lambda: limited in found, what="the refusal is sent")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/credentials/team%2Fpg", "credential:team/pg"),
        (f"/api/executions/%2B00{EXECUTION_ID}", f"execution:{EXECUTION_ID}"),
    ],
)
async def test_an_object_has_one_name_however_it_is_written(
    nats_url: str, path: str, shown: str
) -> None:
    async with guarded_world(nats_url) as world, listening(world) as found:
        await world.client.get(path, headers=bearer(KEYS[Role.ADMIN]) | MINE)
        await eventually(lambda: bool(found), what="the decision is sent")

        assert {name for _, name, _ in found} == {shown}

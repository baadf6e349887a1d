"""W21: claims are requested as other writes are, and never stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.inbox import Incoming
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_bus.writes.breaker import Breaker
from noetl_bus.writes.exchange import Exchange, NoAnswer, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.streams import INGRESS, STREAMS
from noetl_contract.subjects import family, write_subject
from noetl_testkit.bus import flush
from noetl_testkit.waiting import PATIENCE_SECONDS

OWNERS = write_subject(0, execution_id=7, kind="claim")
BUSY = b'{"status":503,"body":null,"error":"later","detail":null}'
GRANTED = b'{"status":200,"body":{},"error":null,"detail":null}'


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with connect(NatsSettings(nats_url=nats_url), name="test") as bus:
        await ensure_topology(bus, STREAMS, ())
        yield bus


async def claim(sender: Sender, *, seconds: float = PATIENCE_SECONDS) -> bytes:
    inbox = sender.bus.inbox()
    with Write(inbox, shard=0, execution_id=7, kind="claim", body=b"{}") as write:
        deadline = asyncio.get_running_loop().time() + seconds
        wait = WriteTimeout(seconds)
        return await Exchange(sender, write, wait, deadline=deadline, check_seconds=0.1).answer()


@asynccontextmanager
async def served(
    bus: Bus, subject: str, answer: Callable[[int], bytes | None]
) -> AsyncIterator[list[str]]:
    """Answer what comes on a subject by its number; gives the subjects that were heard."""
    heard: list[str] = []

    def take(incoming: Incoming) -> None:
        heard.append(incoming.subject)
        if (body := answer(len(heard))) is not None:
            bus.send_nowait(incoming.headers[REPLY_HEADER], body)

    subscription = await bus.subscribe(subject, take)
    await flush(bus)
    yield heard
    await subscription.unsubscribe()


async def stored(bus: Bus) -> int:
    return int((await bus.js.stream_info(INGRESS.name)).state.messages)


@pytest.mark.parametrize("is_direct", [True, False])
async def test_w21_a_claim_that_nobody_answers_is_never_stored(
    bus: Bus, *, is_direct: bool
) -> None:
    before = await stored(bus)
    async with served(bus, OWNERS, lambda _count: None) as heard:
        with pytest.raises(NoAnswer):
            await claim(Sender(bus, is_direct=is_direct), seconds=1.0)

    assert set(heard) == {OWNERS}
    assert await stored(bus) == before


async def test_a_claim_is_told_that_there_is_no_room(bus: Bus) -> None:
    """Others go into the stream then; who claims decides by himself when to ask again."""
    async with served(bus, OWNERS, lambda _count: BUSY):
        assert await claim(Sender(bus)) == BUSY


async def test_a_claim_is_asked_again_until_somebody_listens(bus: Bus) -> None:
    asking = asyncio.create_task(claim(Sender(bus)))
    await asyncio.sleep(0)  # it may have been sent before
    async with served(bus, OWNERS, lambda _count: GRANTED):
        assert await asking == GRANTED


async def test_claims_are_asked_while_other_writes_are_not(bus: Bus) -> None:
    sender = Sender(bus)
    breaker = sender._breakers[0] = Breaker(clock=lambda: 0.0)
    breaker.note(is_answered=False)

    async with served(bus, "noetl_write.0.>", lambda _count: GRANTED) as heard:
        with Write(bus.inbox(), shard=0, execution_id=7, kind="events", body=b"{}") as write:
            assert not await sender.request(write, seconds=PATIENCE_SECONDS)
        assert await claim(sender) == GRANTED

    assert heard == [OWNERS]


async def test_a_login_that_may_not_claim_may_send_other_writes(bus: Bus) -> None:
    bus.forbidden.add(family(OWNERS))
    sender = Sender(bus)

    async with served(bus, "noetl_write.0.>", lambda _count: GRANTED) as written:
        with Write(bus.inbox(), shard=0, execution_id=7, kind="outcome", body=b"{}") as write:
            assert await sender.request(write, seconds=PATIENCE_SECONDS)
        with pytest.raises(NoAnswer):
            await claim(sender, seconds=0.2)

    assert written == [write_subject(0, execution_id=7, kind="outcome")]

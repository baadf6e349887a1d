"""Contexts of rows go on with their messages; rows without one have no header."""

from noetl_contract.streams import COMMITS, EVENTS
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually

from services.outbox.tests.rows import Rows, relaying

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def headers(rows: Rows, stream: str) -> list[dict[str, str]]:
    info = await rows.bus.js.stream_info(stream)
    return [
        dict((await rows.bus.js.get_msg(stream, sequence)).headers or {})
        for sequence in range(info.state.first_seq, info.state.last_seq + 1)
    ]


async def test_the_context_of_a_commit_goes_to_its_readers(
    rows: Rows, database: Database, nats_url: str
) -> None:
    await rows.append(1, 2, event_type="step.exit")
    trace = {"traceparent": PARENT, "tracestate": "a=1"}
    async with relaying(database, nats_url):
        await rows.commit(rows.of_commit(1, 1, payload={"first": 1, "last": 1, "trace": trace}))
        await rows.commit(rows.of_commit(2, 2))
        await eventually(rows.all_published)

    for stream in (COMMITS.name, EVENTS.name):
        with_context, without = await headers(rows, stream)
        assert with_context.items() >= trace.items(), stream
        assert set(without) == {"Nats-Msg-Id"}, stream

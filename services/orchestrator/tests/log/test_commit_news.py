"""News of commits without a row: gathered, replaced by a row's, kept while there is no broker."""

import asyncio

import orjson
from noetl_common.bus.broker import connect
from noetl_common.bus.inbox import Incoming
from noetl_common.settings import NatsSettings
from noetl_contract.events import commit_body
from noetl_contract.subjects import commit_subject, commits_filter
from noetl_orchestrator.log.outbox_hints import CommitNews
from noetl_orchestrator.log.outbox_rows import OutboxRow
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import eventually

_SHARD = 7


def _commit(execution_id: int, *, first: int, last: int, is_stored: bool = False) -> OutboxRow:
    body = commit_body(execution_id, first=first, last=last)
    return OutboxRow(
        outbox_id=last,
        owner=execution_id,
        execution_id=execution_id,
        event_id=last,
        kind="commit",
        subject=commit_subject(execution_id, shard=_SHARD),
        message_id="",
        payload=None,
        hinted=None,
        message=None if is_stored else body,
    )


def _told(incoming: list[Incoming]) -> list[tuple[str, int, int]]:
    bodies = [orjson.loads(one.data) for one in incoming]
    return [(body["execution_id"], body["first"], body["last"]) for body in bodies]


async def test_commits_of_one_moment_are_one_message_and_a_row_tells_of_those_before(
    nats_url: str,
) -> None:
    heard: list[Incoming] = []
    async with connect(NatsSettings(nats_url=nats_url), name="test") as bus:
        await bus.subscribe(commits_filter(_SHARD), heard.append)
        news = CommitNews(bus, gather_seconds=60)
        assert news.take(_commit(1, first=1, last=2))
        assert news.take(_commit(2, first=1, last=1))
        assert news.take(_commit(1, first=3, last=3))
        assert news.take(_commit(3, first=4, last=5))
        assert not news.take(_commit(2, first=2, last=2, is_stored=True))

        news.close()
        await eventually(lambda: len(heard) == 2)

        assert heard[0].subject == f"noetl_commits.{_SHARD}.1"
        assert _told(heard) == [("1", 1, 3), ("3", 4, 5)]


async def test_news_wait_for_a_broker_that_is_away(own_nats: NatsServer) -> None:
    heard: list[Incoming] = []
    async with connect(NatsSettings(nats_url=own_nats.url), name="test") as bus:
        await bus.subscribe(commits_filter(_SHARD), heard.append)
        news = CommitNews(bus, gather_seconds=0.01)
        await asyncio.to_thread(own_nats.stop)
        await eventually(lambda: not bus.is_connected)
        news.take(_commit(1, first=1, last=2))
        await asyncio.to_thread(own_nats.start)

        await eventually(lambda: heard)

        assert _told(heard) == [("1", 1, 2)]

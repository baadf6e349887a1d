"""News of commits without a row: gathered, replaced by a row's, kept while there is no broker."""

import asyncio

import orjson
from noetl_bus.broker import connect
from noetl_bus.inbox import Incoming
from noetl_bus.settings import NatsSettings
from noetl_contract.subjects import COMMITS_ROOT, commits_filter
from noetl_orchestrator.publishing.commit_news import CommitNews
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import eventually

_SHARD = 7


def _told(incoming: list[Incoming]) -> list[tuple[str, int, int]]:
    bodies = [orjson.loads(one.data) for one in incoming]
    return [(body["execution_id"], body["first"], body["last"]) for body in bodies]


async def test_commits_of_one_moment_are_one_message_and_a_row_tells_of_those_before(
    nats_url: str,
) -> None:
    heard: list[Incoming] = []
    async with connect(NatsSettings(nats_url=nats_url), name="test") as bus:
        await bus.subscribe(commits_filter(_SHARD), heard.append)
        news = CommitNews(bus, shard=_SHARD, gather_seconds=60)
        news.take(1, first=1, last=2)
        news.take(2, first=1, last=1)
        news.take(1, first=3, last=3)
        news.take(3, first=4, last=5)
        news.leave(2)

        news.close()
        await eventually(lambda: len(heard) == 2)

        assert heard[0].subject == f"noetl_commits.{_SHARD}.1"
        assert _told(heard) == [("1", 1, 3), ("3", 4, 5)]


async def test_news_that_the_login_may_not_publish_are_dropped(nats_url: str) -> None:
    """The login lacks the right; readers look into the log from time to time."""
    heard: list[Incoming] = []
    async with connect(NatsSettings(nats_url=nats_url), name="test") as bus:
        await bus.subscribe(commits_filter(_SHARD), heard.append)
        news = CommitNews(bus, shard=_SHARD, gather_seconds=60)
        bus.forbidden.add(COMMITS_ROOT)
        news.take(1, first=1, last=2)
        news.close()
        bus.forbidden.clear()
        news.take(2, first=1, last=1)
        news.close()

        await eventually(lambda: heard)

        assert _told(heard) == [("2", 1, 1)]


async def test_news_wait_for_a_broker_that_is_away(own_nats: NatsServer) -> None:
    heard: list[Incoming] = []
    async with connect(NatsSettings(nats_url=own_nats.url), name="test") as bus:
        await bus.subscribe(commits_filter(_SHARD), heard.append)
        news = CommitNews(bus, shard=_SHARD, gather_seconds=0.01)
        await asyncio.to_thread(own_nats.stop)
        await eventually(lambda: not bus.is_connected)
        news.take(1, first=1, last=2)
        await asyncio.to_thread(own_nats.start)

        await eventually(lambda: heard)

        assert _told(heard) == [("1", 1, 2)]

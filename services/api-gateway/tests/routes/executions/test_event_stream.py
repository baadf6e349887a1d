"""The event stream: replay, resume, live, end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import commit_subject
from noetl_testkit.waiting import eventually, unless_it_hangs

from ...conftest import EXECUTION_ID, World, make_world

PATH = f"/api/executions/{EXECUTION_ID}/events/stream"


class Log:
    """The log of one execution, as the projector shows it."""

    def __init__(self, world: World) -> None:
        self.rows: list[dict[str, Json]] = []
        self.status = "RUNNING"
        world.backend.answer("executions.tail", self._tail)

    def append(self, event_type: str, event_id: int, **fields: Json) -> None:
        """Commit an event."""
        row = {
            "event_id": event_id,
            "execution_id": str(EXECUTION_ID),
            "catalog_id": 11,
            "parent_event_id": None,
            "parent_execution_id": None,
            "event_type": event_type,
            "node_id": "start",
            "node_name": "start",
            "status": "STARTED",
            "created_at": "2026-06-15T09:18:22.481205Z",
            "timestamp": "2026-06-15T09:18:22.481205Z",
            "duration": None,
            "context": None,
            "result": None,
            "error": None,
            "meta": {"not": "shown"},
            "position": len(self.rows) + 1,
        }
        self.rows.append(row | fields)

    def _tail(self, request: dict[str, Json]) -> Json:
        after = request.get("after_position", 0)
        if "after_event_id" in request:
            after = self._position_of(request["after_event_id"])
        return {
            "after_position": after,
            "has_secrets": False,
            "events": self.rows[after : after + request["limit"]],
            "status": self.status,
            "position": len(self.rows),
        }

    def _position_of(self, event_id: int) -> int:
        for row in self.rows:
            if row["event_id"] == event_id:
                return int(row["position"])
        later = (row["position"] - 1 for row in self.rows if row["event_id"] > event_id - 128)
        return next(later, len(self.rows))


class Reader:
    """Reads a stream message by message."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def message(self, *, comments: bool = False) -> dict[str, Json]:
        """The next message as its fields; comments are skipped unless wanted."""
        found: dict[str, Json] = {}
        async with unless_it_hangs():
            async for line in self._lines:
                if line == "":
                    if found:
                        return found
                elif line.startswith(":"):
                    if comments:
                        found["comment"] = line[1:].strip()
                else:
                    name, _, value = line.partition(": ")
                    found[name] = orjson.loads(value) if name == "data" else value
        return found

    async def ids(self) -> list[int]:
        """Ids of all messages until the end."""
        found = []
        while (message := await self.message()) and message["event"] == "event":
            found.append(int(message["id"]))
        return found


@asynccontextmanager
async def reading(
    world: World, path: str = PATH, headers: dict[str, str] | None = None
) -> AsyncIterator[Reader]:
    async with world.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        reader = Reader(answer.aiter_lines())
        assert await reader.message() == {"retry": "3000"}
        yield reader


async def test_stream_replays_a_finished_execution_and_ends(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    log.append("playbook.completed", 10, status="UNKNOWN", result={"status": "COMPLETED"})
    log.status = "COMPLETED"

    async with reading(world) as stream:
        first, second, end = [await stream.message() for _ in range(3)]
        rest = await stream.message()

    assert first == {
        "id": "20",
        "event": "event",
        "data": {
            "event_id": 20,
            "event_type": "playbook_started",
            "node_name": "start",
            "status": "STARTED",
            "created_at": "2026-06-15T09:18:22.481205Z",
            "result": None,
            "error": None,
            "execution_id": EXECUTION_ID,
        },
    }
    assert (second["id"], second["data"]["status"]) == ("10", "UNKNOWN")
    assert end == {
        "event": "end",
        "data": {"execution_id": EXECUTION_ID, "status": "COMPLETED"},
    }
    assert rest == {}


async def test_stream_follows_what_is_committed(nats_url: str) -> None:
    async with make_world(nats_url, stream_poll_seconds=30.0) as world:
        log = Log(world)
        log.append("playbook_started", 1)
        async with reading(world) as stream:
            assert (await stream.message())["id"] == "1"
            log.append("call.done", 2)
            await world.backend.append("call.done")
            second = await stream.message()
            log.append("playbook_cancelled", 3)
            log.status = "CANCELLED"
            await world.backend.append("playbook_cancelled")
            third, end = await stream.message(), await stream.message()

    assert (second["id"], third["id"]) == ("2", "3")
    assert end["data"]["status"] == "CANCELLED"


async def tell(world: World, *, last: int) -> None:
    """Publish a commit as the relay does."""
    body = {"execution_id": str(EXECUTION_ID), "first": last, "last": last}
    await world.backend.bus.send(commit_subject(EXECUTION_ID, shard=0), orjson.dumps(body))


async def test_stream_reads_on_when_a_commit_tells_of_more(nats_url: str) -> None:
    """Order and repetition of the messages do not matter, and one read serves several."""
    async with make_world(nats_url, stream_poll_seconds=30.0) as world:
        log = Log(world)
        log.append("playbook_started", 1)
        async with reading(world) as stream:
            await stream.message()
            asked = len(world.backend.requests("executions.tail"))
            log.append("call.done", 2)
            log.append("step.exit", 3)
            for last in (1, 3, 2, 3):
                await tell(world, last=last)
            second, third = [await stream.message() for _ in range(2)]
            log.append("playbook.completed", 4)
            await tell(world, last=4)
            fourth, end = [await stream.message() for _ in range(2)]

    assert [second["id"], third["id"], fourth["id"]] == ["2", "3", "4"]
    assert end["data"]["status"] == "COMPLETED"
    assert len(world.backend.requests("executions.tail")) - asked <= 3


async def test_stream_reads_nothing_for_what_it_has_sent(nats_url: str) -> None:
    async with make_world(nats_url, stream_poll_seconds=30.0) as world:
        log = Log(world)
        log.append("playbook_started", 1)
        async with reading(world) as stream:
            await stream.message()
            asked = len(world.backend.requests("executions.tail"))
            for _ in range(5):
                await tell(world, last=1)
            log.append("playbook.completed", 2)
            await tell(world, last=2)
            await stream.message()

    assert len(world.backend.requests("executions.tail")) == asked + 1


async def test_stream_finds_what_no_message_told_about(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 1)
    async with reading(world) as stream:
        await stream.message()
        log.append("call.done", 2)

        assert (await stream.message())["id"] == "2"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, {"last-event-id": "30"}),
        (f"{PATH}?last_event_id=30", {}),
        (f"{PATH}?since_event_id=30", {}),
        (f"{PATH}?since_event_id=1", {"last-event-id": "30"}),
    ],
)
async def test_stream_goes_on_after_the_last_event_in_log_order(
    world: World, path: str, headers: dict[str, str]
) -> None:
    log = Log(world)
    for event_id in (10, 30, 20, 40):
        log.append("step.enter", event_id)
    log.append("playbook.failed", 5)
    log.status = "FAILED"

    async with reading(world, path, headers) as stream:
        assert await stream.ids() == [20, 40, 5]


async def test_stream_goes_on_after_a_rounded_id_rather_twice_than_never(world: World) -> None:
    log = Log(world)
    for event_id in (1000, 2000, 2100, 3000):
        log.append("step.enter", event_id)
    log.append("playbook.completed", 3001)
    log.status = "COMPLETED"

    async with reading(world, headers={"last-event-id": "2176"}) as stream:
        assert await stream.ids() == [2100, 3000, 3001]


async def test_stream_resumes_in_pages(nats_url: str) -> None:
    async with make_world(nats_url, stream_page_size=2) as world:
        log = Log(world)
        for event_id in range(1, 8):
            log.append("step.enter", event_id)
        log.append("playbook.completed", 8)
        log.status = "COMPLETED"

        async with reading(world, headers={"last-event-id": "5"}) as stream:
            assert await stream.ids() == [6, 7, 8]


async def test_stream_ends_at_once_when_everything_was_seen(world: World) -> None:
    log = Log(world)
    log.append("playbook.completed", 8)
    log.status = "COMPLETED"

    async with reading(world, headers={"last-event-id": "8"}) as stream:
        assert (await stream.message())["event"] == "end"


async def test_stream_filters_types_and_still_ends(world: World) -> None:
    log = Log(world)
    for event_id, event_type in enumerate(["playbook_started", "call.done", "x", "y"], 1):
        log.append(event_type, event_id)
    log.append("playbook.completed", 9)
    log.status = "COMPLETED"

    async with reading(world, f"{PATH}?event_type=call.done&event_type=y") as stream:
        assert await stream.ids() == [2, 4]


async def test_stream_for_a_browser_has_string_ids(world: World) -> None:
    log = Log(world)
    log.append("playbook.completed", 9)
    log.status = "COMPLETED"

    async with reading(world, headers={"sec-fetch-site": "same-origin"}) as stream:
        message, end = await stream.message(), await stream.message()

    assert message["data"]["execution_id"] == str(EXECUTION_ID)
    assert message["data"]["event_id"] == 9
    assert end["data"]["execution_id"] == str(EXECUTION_ID)


async def test_silent_stream_sends_comments(world: World) -> None:
    Log(world).append("playbook_started", 1)

    async with reading(world) as stream:
        await stream.message()

        assert await stream.message(comments=True) == {"comment": "keep-alive"}


async def test_stream_survives_a_projector_that_restarts(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 1)
    async with reading(world) as stream:
        await stream.message()
        world.backend.answer("executions.tail", RpcReply(status=503, error="restarting"))
        await world.backend.append("call.done")
        asked = len(world.backend.requests("executions.tail"))
        await eventually(
            lambda: len(world.backend.requests("executions.tail")) > asked,
            what="the log was asked for",
        )
        log.append("call.done", 2)
        world.backend.answer("executions.tail", log._tail)

        assert (await stream.message())["id"] == "2"


async def test_unknown_execution_is_404_before_the_stream(world: World) -> None:
    text = f"Execution not found: {EXECUTION_ID}"
    world.backend.answer("executions.tail", RpcReply(status=404, error=text))

    answer = await world.get(PATH)

    assert (answer.status_code, answer.json()["error"]) == (404, text)


async def test_open_streams_are_bounded_and_given_back(nats_url: str) -> None:
    async with make_world(nats_url, max_event_streams=1) as world:
        Log(world).append("playbook_started", 1)
        async with reading(world):
            second = await world.get(PATH)
        assert second.status_code == 503

        async def is_free() -> bool:
            async with world.client.stream("GET", PATH) as answer:
                return answer.status_code == 200

        await eventually(is_free, what="the place is free again")


async def test_head_of_a_stream_ends_and_keeps_no_place(nats_url: str) -> None:
    async with make_world(nats_url, max_event_streams=1) as world:
        Log(world).append("playbook_started", 1)
        one = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=world.client.base_url, limits=one, trust_env=False
        ) as client:
            head = await client.head(PATH)
            health = await client.get("/health")

        async def is_free() -> bool:
            async with world.client.stream("GET", PATH) as answer:
                return answer.status_code == 200

        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
        assert health.status_code == 200
        await eventually(is_free, what="the place is free again")


async def test_one_place_to_go_on_from(world: World) -> None:
    Log(world).append("playbook_started", 1)

    answer = await world.get(f"{PATH}?last_event_id=1&last_event_id=2")

    text = "Failed to deserialize query string: duplicate field `last_event_id`"
    assert (answer.status_code, answer.json()["error"]) == (400, text)


async def test_stop_of_the_process_ends_open_streams(nats_url: str) -> None:
    async with make_world(nats_url) as world:
        Log(world).append("playbook_started", 1)
        async with reading(world) as stream:
            await stream.message()
            world.shell.service.drain()

            assert await stream.message() == {}
        ready = await world.get("/ready")

    assert ready.status_code == 503

"""Lines of running steps in the event stream, and how they come there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from noetl_api_gateway.routes.executions.output_lines import MOST_WAITING_BYTES, OutputLines
from noetl_bus.inbox import Incoming
from noetl_contract.http.workers.output import OutputBatch
from noetl_contract.json import Json
from noetl_contract.subjects import WATCH_HINT, commit_subject, output_subject
from noetl_testkit.bus import flush, has_listener
from noetl_testkit.waiting import eventually

from ...conftest import EXECUTION_ID, World
from .test_event_stream import PATH, Log, reading

EVENT_ID = 70


def make_batch(*numbers: int, last: int | None = None, **changes: Json) -> dict[str, Json]:
    lines = [
        {"number": one, "stream": "stdout", "time": "2026-06-15T09:18:22.481Z", "text": f"l{one}"}
        for one in numbers
    ]
    return {
        "execution_id": EXECUTION_ID,
        "event_id": EVENT_ID,
        "command_id": f"{EXECUTION_ID}:load:{EVENT_ID}",
        "step": "load",
        "lines": lines,
        "last": last if last is not None else max(numbers, default=0),
        **changes,
    }


class Workers:
    """Hears which executions are watched, and prints."""

    def __init__(self, world: World) -> None:
        self.bus = world.backend.bus
        self.hints: list[dict[str, Any]] = []

    def on_hint(self, message: Incoming) -> None:
        self.hints.append(orjson.loads(message.data))

    async def print(self, batch: dict[str, Json]) -> None:
        await self.bus.send(output_subject(EXECUTION_ID), orjson.dumps(batch))

    async def nobody_listens(self) -> bool:
        return not await has_listener(self.bus, output_subject(EXECUTION_ID))


@asynccontextmanager
async def workers_of(world: World) -> AsyncIterator[Workers]:
    workers = Workers(world)
    subscription = await world.backend.bus.subscribe(WATCH_HINT, workers.on_hint)
    await flush(world.backend.bus)
    try:
        yield workers
    finally:
        await subscription.unsubscribe()


async def test_lines_are_streamed_while_somebody_watches(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    async with workers_of(world) as workers:
        async with reading(world, f"{PATH}?output=1") as stream:
            assert (await stream.message())["event"] == "event"
            await eventually(lambda: workers.hints, what="the word that it is watched")
            assert workers.hints[0] == {"executions": [EXECUTION_ID], "fresh": [EXECUTION_ID]}
            await workers.print(make_batch(1, 2, is_whole=True))
            shown = await stream.message()
            await workers.print(make_batch(5, last=9))
            await workers.print(make_batch(1, 2, 5, 10))
            later = [(await stream.message())["data"] for _ in range(3)]
            log.append("playbook.completed", 21)
            log.status = "COMPLETED"
            await world.backend.bus.send(commit_subject(EXECUTION_ID, shard=0), b"{}")
            assert (await stream.message())["id"] == "21"
            assert (await stream.message())["event"] == "end"
        await eventually(workers.nobody_listens, what="the end of the subscription")

    assert shown == {
        "event": "output",
        "data": {
            "execution_id": EXECUTION_ID,
            "event_id": EVENT_ID,
            "command_id": f"{EXECUTION_ID}:load:{EVENT_ID}",
            "step": "load",
            "attempts": 0,
            "dropped": 0,
            "lines": [
                {
                    "number": number,
                    "stream": "stdout",
                    "time": "2026-06-15T09:18:22.481Z",
                    "text": f"l{number}",
                }
                for number in (1, 2)
            ],
        },
    }
    seen = [(one["dropped"], [line["number"] for line in one["lines"]]) for one in later]
    assert seen == [(2, [5]), (4, []), (0, [10])]


async def test_a_stream_of_lines_alone_has_no_events(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    log.append("playbook.completed", 21)
    log.status = "COMPLETED"

    async with reading(world, f"{PATH}?output=only") as stream:
        assert (await stream.message())["event"] == "end"


async def test_the_console_passes_them_on(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    path = f"/console/runs/{EXECUTION_ID}/output"
    async with workers_of(world) as workers:
        async with reading(world, path) as stream:
            await eventually(lambda: workers.hints, what="the word that it is watched")
            await workers.print(make_batch(1, is_whole=True))
            assert (await stream.message())["data"]["lines"][0]["text"] == "l1"
        await eventually(workers.nobody_listens, what="the end of the subscription")


async def test_without_the_wish_nothing_is_subscribed(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    async with workers_of(world) as workers, reading(world) as stream:
        assert (await stream.message())["event"] == "event"
        assert await workers.nobody_listens()
        assert workers.hints == []


async def test_a_wish_that_is_none_is_refused(world: World) -> None:
    Log(world)
    answer = await world.client.get(PATH, params={"output": "yes"})

    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "Failed to deserialize query string: output: 'yes' is none of 0, 1, only",
    )


async def test_lines_over_http_reach_the_readers(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    async with workers_of(world) as workers, reading(world, f"{PATH}?output=only") as stream:
        await eventually(lambda: workers.hints, what="the word that it is watched")
        path = f"/api/commands/{EVENT_ID}/output"
        good = await world.client.post(path, json=make_batch(1, is_whole=True))
        other = await world.client.post("/api/commands/71/output", json=make_batch(2))
        text = {
            **make_batch(2),
            "lines": [{"number": 2, "stream": "stdin", "time": "", "text": ""}],
        }
        wrong = await world.client.post(path, json=text)
        message = await stream.message()

    assert (good.status_code, good.json()) == (200, {"status": "ok"})
    assert (other.status_code, other.json()["error"]) == (
        422,
        "event_id is not the command of the path",
    )
    assert wrong.status_code == 422
    assert [line["text"] for line in message["data"]["lines"]] == ["l1"]


async def test_a_second_reader_asks_for_what_was_printed(world: World) -> None:
    log = Log(world)
    log.append("playbook_started", 20)
    path = f"{PATH}?output=only"
    async with workers_of(world) as workers, reading(world, path) as first:
        await eventually(lambda: workers.hints, what="the word that it is watched")
        await workers.print(make_batch(1, is_whole=True))
        assert (await first.message())["event"] == "output"
        await eventually(lambda: workers.hints[-1:] and not workers.hints[-1]["fresh"], what="calm")
        async with reading(world, path) as second:
            await eventually(lambda: workers.hints[-1]["fresh"], what="a new wish")
            await workers.print(make_batch(2))  # it doesn't begin with this one
            await workers.print(make_batch(1, 2, is_whole=True))
            assert [line["number"] for line in (await second.message())["data"]["lines"]] == [1, 2]
        assert [line["number"] for line in (await first.message())["data"]["lines"]] == [2]


def make_lines() -> tuple[OutputLines, list[str]]:
    calls: list[str] = []
    lines = OutputLines(
        wake=lambda: calls.append("wake"), ask_again=lambda: calls.append("ask again")
    )
    return lines, calls


def take(lines: OutputLines, *numbers: int, **changes: Json) -> None:
    lines.take(OutputBatch.model_validate(make_batch(*numbers, **changes)))


def test_a_run_whose_beginning_never_comes_is_shown_all_the_same() -> None:
    lines, calls = make_lines()
    for number in range(3, 9):
        take(lines, number)

    assert calls == ["ask again"] * 5 + ["wake"]
    assert [(one.dropped, len(one.lines)) for one in lines.shown()] == [(7, 1)]


def test_a_reader_that_is_slow_is_told_what_it_missed() -> None:
    lines, _ = make_lines()
    take(lines, 1, is_whole=True)
    big = make_batch(2)
    big["lines"][0]["text"] = "x" * 4000
    for number in range(2, 1000):
        big["lines"][0]["number"] = big["last"] = number
        lines.take(OutputBatch.model_validate(big))
    waiting = lines.shown()
    taken = waiting[-1].lines[-1].number
    take(lines, 1000)

    assert sum(4064 * len(one.lines) for one in waiting) < MOST_WAITING_BYTES + 10_000
    assert [one.dropped for one in lines.shown()] == [999 - taken]


@pytest.mark.parametrize("attempts", [0, 1])
def test_each_attempt_has_numbers_of_its_own(attempts: int) -> None:
    lines, _ = make_lines()
    take(lines, 1, 2, is_whole=True)
    take(lines, 1, is_whole=True, attempts=attempts)

    assert len(lines.shown()) == 1 + attempts

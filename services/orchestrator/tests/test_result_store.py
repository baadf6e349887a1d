"""Results read for decisions of many executions at once, and the memory that they take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from noetl_bus.rpc import handle, serve_rpc
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import RESULT_PART, PartOfResult
from noetl_contract.tools.results import Part
from noetl_orchestrator.log.origins import Origins
from noetl_orchestrator.result_store import PartName, ReadResults, ResultReader, ResultStore
from noetl_pg.database import Database
from noetl_testkit.bus import flush
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs

from services.orchestrator.tests.shard import Shard

AT_ONCE = 4


@dataclass
class SlowStore:
    """Keeps every request until the test has it answer one."""

    waiting: list[tuple[str, asyncio.Future[Part | Refusal]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    most: int = 0
    is_closed: bool = False

    async def resolve(self, request: PartOfResult) -> Part | Refusal:
        if self.is_closed:
            return Refusal(404, "closed")
        answer: asyncio.Future[Part | Refusal] = asyncio.get_running_loop().create_future()
        self.asked.append(request.ref)
        self.waiting.append((request.ref, answer))
        self.most = max(self.most, len(self.waiting))
        return await answer

    def answer(self, refusal: Refusal | None = None) -> None:
        """Answer the request that waits longest: with its reference, or refuse it."""
        ref, answer = self.waiting.pop(0)
        answer.set_result(refusal or Part(depth=0, value={"of": ref}))

    def close(self) -> None:
        """Refuse waiting and later requests, so that a failed test ends."""
        self.is_closed = True
        while self.waiting:
            self.answer(Refusal(404, "closed"))


@asynccontextmanager
async def slow_store(shard: Shard) -> AsyncIterator[SlowStore]:
    store = SlowStore()
    handlers = [handle(RESULT_PART, store.resolve)]
    async with serve_rpc(shard.bus, handlers, queue="t", shard=0):
        try:
            yield store
        finally:
            store.close()


def reader_of(shard: Shard) -> ResultReader:
    results = ResultStore(shard.bus, shard=0, seconds=PATIENCE_SECONDS)
    return ResultReader(results, Origins(Database(shard.pool)), most_bytes=1 << 20)


def parts_of(execution_id: int, count: int = 1) -> dict[PartName, bool]:
    return {(f"noetl://execution/{execution_id}/result/r/{one}", ()): True for one in range(count)}


async def test_many_executions_read_a_few_results_at_a_time(shard: Shard) -> None:
    reader, found = reader_of(shard), {one: ReadResults() for one in range(1, 13)}
    async with slow_store(shard) as store, unless_it_hangs():
        reads = [
            asyncio.create_task(reader.read(one, parts_of(one), read))
            for one, read in found.items()
        ]
        for answered in range(len(found)):
            wanted = min(answered + AT_ONCE, len(found))
            await eventually(lambda wanted=wanted: len(store.asked) >= wanted, what="they ask")
            # What else was asked of the broker has come by then.
            await flush(shard.bus)
            assert len(store.waiting) <= AT_ONCE
            store.answer()
        await asyncio.gather(*reads)

    assert store.most == AT_ONCE
    assert [list(read.parts) for read in found.values()] == [list(parts_of(one)) for one in found]


async def test_one_execution_has_one_place_for_all_that_it_reads(shard: Shard) -> None:
    """Its results come one after the other, and no execution waits with some in memory."""
    reader, found = reader_of(shard), [ReadResults() for _ in range(6)]
    async with slow_store(shard) as store, unless_it_hangs():
        reads = [
            asyncio.create_task(reader.read(one, parts_of(one, 3), read))
            for one, read in enumerate(found)
        ]
        for _ in range(3 * len(found)):
            await eventually(lambda: store.waiting, what="somebody asks")
            await flush(shard.bus)
            begun = [read for read in found if read.parts]
            unfinished = [read for read in begun if len(read.parts) < 3]
            assert len(unfinished) <= AT_ONCE
            assert len({ref.split("/")[3] for ref, _ in store.waiting}) == len(store.waiting)
            store.answer()
        await asyncio.gather(*reads)

    assert [len(read.parts) for read in found] == [3] * len(found)
    assert store.most == AT_ONCE


async def test_a_store_that_refuses_for_now_keeps_no_place(shard: Shard) -> None:
    reader, found = reader_of(shard), [ReadResults() for _ in range(2 * AT_ONCE)]
    async with slow_store(shard) as store, unless_it_hangs():
        reads = [
            asyncio.create_task(reader.read(one, parts_of(one), read))
            for one, read in enumerate(found)
        ]
        for _ in range(AT_ONCE):
            await eventually(lambda: store.waiting, what="they ask")
            store.answer(Refusal(503, "away"))
        for _ in range(AT_ONCE):
            await eventually(lambda: store.waiting, what="the others ask")
            store.answer()
        await asyncio.gather(*reads)

    assert sum(len(read.parts) for read in found) == AT_ONCE

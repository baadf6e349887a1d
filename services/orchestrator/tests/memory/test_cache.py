"""The cache stays within its bounds, oldest first."""

from dataclasses import dataclass

from noetl_contract.events import ExecutionStatus
from noetl_orchestrator.memory.cache import CachedExecution, ExecutionCache


@dataclass
class Sized:
    size: int
    status: ExecutionStatus = ExecutionStatus.RUNNING

    def memory_size(self) -> int:
        return self.size


def entry(size: int, status: ExecutionStatus = ExecutionStatus.RUNNING) -> CachedExecution:
    return CachedExecution(Sized(size, status), catalog_id=1)


def test_the_least_recently_used_go_first() -> None:
    cache = ExecutionCache(max_executions=2, max_bytes=100)
    for number in (1, 2):
        cache.put(number, entry(10))
    assert cache.get(1) is not None

    cache.put(3, entry(10))

    assert [number for number in (1, 2, 3) if cache.get(number)] == [1, 3]
    assert cache.bytes == 20


def test_bytes_are_bounded_by_what_executions_have_grown_to() -> None:
    cache = ExecutionCache(max_executions=10, max_bytes=100)
    cache.put(1, entry(40))
    cache.put(2, entry(40))

    cache.put(2, entry(90))

    assert (cache.get(1), len(cache), cache.bytes) == (None, 1, 90)


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = ExecutionCache(max_executions=10, max_bytes=100)

    cache.put(1, entry(101))

    assert (len(cache), cache.bytes) == (0, 0)


def test_ended_executions_go_after_a_moment() -> None:
    now = 0.0
    cache = ExecutionCache(max_executions=10, max_bytes=100, clock=lambda: now)
    cache.put(1, entry(10, ExecutionStatus.COMPLETED))
    cache.put(2, entry(10))
    now = 10.0
    cache.put(3, entry(10, ExecutionStatus.FAILED))
    cache.forget_ended()
    assert len(cache) == 3

    now = 20.0
    cache.forget_ended()
    assert [number for number in (1, 2, 3) if cache.get(number)] == [2, 3]

    now = 60.0
    cache.forget_ended()
    assert [number for number in (1, 2, 3) if cache.get(number)] == [2]
    assert cache.bytes == 10


def test_a_late_event_keeps_an_ended_execution_for_another_moment() -> None:
    now = 0.0
    cache = ExecutionCache(max_executions=10, max_bytes=100, clock=lambda: now)
    cache.put(1, entry(10, ExecutionStatus.COMPLETED))
    now = 10.0
    cache.put(1, entry(10, ExecutionStatus.COMPLETED))

    now = 20.0
    cache.forget_ended()

    assert cache.get(1) is not None

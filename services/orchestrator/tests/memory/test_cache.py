"""The cache stays within its bounds, oldest first."""

from dataclasses import dataclass

from noetl_orchestrator.memory.cache import CachedExecution, ExecutionCache, ExecutionLike


@dataclass
class Sized(ExecutionLike):
    size: int

    def memory_size(self) -> int:
        return self.size


def entry(size: int) -> CachedExecution:
    return CachedExecution(Sized(size), catalog_id=1)


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

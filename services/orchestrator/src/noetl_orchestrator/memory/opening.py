"""Build the caches of executions and playbooks, and the database's clock."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_common.bus.broker import Bus
from noetl_engine.playbook import Playbook

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.database_clock import DatabaseClock
from noetl_orchestrator.memory.loader import ExecutionFactory, Loader
from noetl_orchestrator.memory.playbooks import FetchContent, Playbooks
from noetl_orchestrator.memory.replicas import Replicas
from noetl_orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that a process remembers between turns."""

    clock: DatabaseClock
    cache: ExecutionCache
    loader: Loader
    playbooks: Playbooks
    replicas: Replicas


@asynccontextmanager
async def open_memory(
    settings: Settings,
    bus: Bus,
    store: Store,
    *,
    fetch_content: FetchContent,
    parse: Callable[[str], Playbook],
    executions: ExecutionFactory,
) -> AsyncIterator[Memory]:
    """Open an empty memory whose clock is the database's; stop fetching playbooks at the end."""
    clock = DatabaseClock()
    clock.set(await store.read_clock())
    cache = ExecutionCache(max_executions=settings.cache_executions, max_bytes=settings.cache_bytes)
    playbooks = Playbooks(
        fetch_content,
        parse,
        max_kept=settings.cache_playbooks,
        thread_from_bytes=settings.parse_in_thread_bytes,
    )
    try:
        yield Memory(
            clock=clock,
            cache=cache,
            loader=Loader(store, executions),
            playbooks=playbooks,
            replicas=Replicas(bus, cache, shard=settings.shard_index),
        )
    finally:
        playbooks.close()

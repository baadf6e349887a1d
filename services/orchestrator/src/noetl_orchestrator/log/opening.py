"""Build the store, appends, outbox rows, hints and retention on a shard's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_common.bus.broker import Bus
from noetl_common.pg.database import Database
from noetl_common.pg.pool import Pool

from noetl_orchestrator.log.appends import Appends
from noetl_orchestrator.log.outbox_hints import OutboxHints
from noetl_orchestrator.log.outbox_rows import OutboxRows
from noetl_orchestrator.log.retention import Retention
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Log:
    """Everything that reads and writes the log of a shard."""

    store: Store
    appends: Appends
    retention: Retention
    outbox_rows: OutboxRows
    outbox_hints: OutboxHints


@asynccontextmanager
async def open_log(
    settings: Settings, bus: Bus, *, turn_pool: Pool, background: Database
) -> AsyncIterator[Log]:
    """Open the log; connections that turns kept go back to their pool at the end."""
    shard = settings.shard_index
    store = Store(turn_pool, background, commit_timeout_seconds=settings.commit_timeout_seconds)
    try:
        yield Log(
            store=store,
            appends=Appends(background),
            retention=Retention(background),
            outbox_rows=OutboxRows(
                shard=shard,
                shard_count=settings.shard_count,
                server_url=settings.public_server_url.rstrip("/"),
                fast_path_seconds=settings.fast_path_seconds,
                fast_path_max_bytes=(
                    settings.fast_path_max_bytes if settings.fast_path_enabled else 0
                ),
                hint_payload_max_bytes=settings.hint_payload_max_bytes,
            ),
            outbox_hints=OutboxHints(bus, shard=shard, max_bytes=settings.hint_max_bytes),
        )
    finally:
        await store.close()

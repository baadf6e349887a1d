"""Subjects that a running stack uses on the broker, as a client with its login sees them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import nats
from nats.aio.msg import Msg
from noetl_testkit.bus import flush
from noetl_testkit.waiting import PATIENCE_SECONDS


@contextmanager
def subjects_seen(url: str) -> Iterator[set[str]]:
    """Collect the subject of every message that the broker delivers during the block."""
    seen: set[str] = set()
    is_ready, is_over = threading.Event(), threading.Event()

    async def listen() -> None:
        async def note(message: Msg) -> None:
            seen.add(message.subject)

        client = await nats.connect(url)
        try:
            await client.subscribe(">", cb=note, pending_msgs_limit=-1, pending_bytes_limit=-1)
            await flush(client)
            is_ready.set()
            await asyncio.to_thread(is_over.wait)
        finally:
            await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    try:
        assert is_ready.wait(PATIENCE_SECONDS), "no subscription to all subjects"
        yield seen
    finally:
        is_over.set()
        thread.join(timeout=PATIENCE_SECONDS)

"""Subjects that a running stack uses on the broker, as a client with its login sees them."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import nats
from nats.aio.msg import Msg
from noetl_contract.channels import CHANNELS
from noetl_contract.rpc.registry import all_operations
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


_BROKERS_OWN = {
    "_INBOX.": "replies",
    "_INBOX_noetl.": "replies",
    "$JS.": "the broker's JetStream API and acknowledgements",
    "$SYS.": "the broker's system events",
    "$O.": "buckets of the result store",
    "$KV.": "buckets of the result store",
}


def name_of_subject(subject: str) -> str | None:
    """Return the name of the channel or operation that a subject belongs to; None if undeclared.

    Subjects of the broker and the client library (inboxes, the JetStream API) have names too.
    """
    for prefix, name in _BROKERS_OWN.items():
        if subject.startswith(prefix):
            return name
    for channel in CHANNELS:
        if channel.address is not None and _pattern(channel.address).fullmatch(subject):
            return channel.name
    for operation in all_operations():
        place = "[0-9]+" if operation.scope == "shard" else "cluster"
        name = f"{operation.service}.{operation.name}"
        pattern = rf"noetl_rpc\.{operation.service}\.{place}\.{re.escape(operation.name)}"
        if re.fullmatch(pattern, subject):
            return name
    return None


def _pattern(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", r"[^.]+", re.escape(address)))

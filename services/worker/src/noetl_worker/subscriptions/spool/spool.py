"""The spool of one subscription: its messages, and whether more may come."""

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path

import orjson
from noetl_common.clock import unix_ms
from noetl_common.logging import get_logger
from noetl_contract.subscriptions.document import SpoolSpec
from noetl_contract.subscriptions.messages import Message

from noetl_worker.sources.source import WrongSource
from noetl_worker.subscriptions.metrics import SPOOL_BYTES, SPOOLED
from noetl_worker.subscriptions.spool.disk import DiskStore
from noetl_worker.subscriptions.spool.objects import ObjectsStore
from noetl_worker.subscriptions.spool.store import Item, SpoolAway, SpoolStore

_log = get_logger()

_DOWNSTREAM = "control_plane"


class Spool:
    """Keep messages in the order in which they were received.

    Args:
        store: keeps them.
        spec: how many, and in which order they come back.
        path: of the subscription.
        source: word of its source.
    """

    def __init__(self, store: SpoolStore, spec: SpoolSpec, *, path: str, source: str) -> None:
        self.spec = spec
        self._store = store
        self._path = path
        self._source = source
        self._sizes: dict[int, int] = {}
        self._next = 1
        self._writing = asyncio.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._sizes

    @property
    def is_full(self) -> bool:
        """Whether there are as many messages, or bytes, as may be."""
        spec = self.spec
        return len(self._sizes) >= spec.max_messages or sum_of(self._sizes) >= spec.max_bytes

    @property
    def numbers(self) -> list[int]:
        """The numbers of waiting messages, oldest first."""
        return sorted(self._sizes)

    async def open(self) -> None:
        """Open the store and find the messages that an earlier process has left."""
        self._sizes = await self._store.open()
        self._next = max(self._sizes, default=0) + 1
        self._set_gauge()
        if self._sizes:
            _log.info("spool_found", messages=len(self._sizes))

    async def keep(self, message: Message, key: str | None, *, reason: str) -> None:
        """Keep a message; it is stored when this returns.

        Raises:
            SpoolAway: it isn't.
        """
        async with self._writing:
            number, self._next = self._next, self._next + 1
            encoded = orjson.dumps(message.to_json())
            where = self.spec.ordering_key
            item = Item(
                recv_seq=number,
                subscription=self._path,
                source=self._source,
                message=message,
                dedup_key=key,
                ordering_key=message.at(where) if where else None,
                downstream=_DOWNSTREAM,
                reason=reason[:500],
                sha256=hashlib.sha256(encoded).hexdigest(),
                attempts=0,
                spooled_at_ms=unix_ms(),
            )
            data = item.encode()
            await self._store.put(number, data)
            self._sizes[number] = len(data)
        SPOOLED.labels(self._source).inc()
        self._set_gauge()

    async def read(self, number: int) -> Item | None:
        """Return an item; an unreadable one goes to the dead letters, and is None."""
        data = await self._store.get(number)
        try:
            item = _whole(data)
        except ValueError as error:
            _log.error("spool_item_broken", number=number, reason=str(error))
            await self._store.bury(number, data)
            await self.forget(number)
            return None
        return item

    async def bury(self, item: Item, reason: str) -> None:
        """Move an item to the dead letters of the spool."""
        item_bytes = item.encode()
        _log.warning("spool_item_dead", number=item.recv_seq, reason=reason)
        await self._store.bury(item.recv_seq, item_bytes)
        await self.forget(item.recv_seq)

    async def forget(self, number: int) -> None:
        """Forget an item that was started."""
        await self._store.delete(number)
        self._sizes.pop(number, None)
        self._set_gauge()

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def _set_gauge(self) -> None:
        SPOOL_BYTES.labels(self._source).set(sum_of(self._sizes))


def _whole(data: bytes) -> Item:
    item = Item.decode(data)
    encoded = orjson.dumps(item.message.to_json())
    if hashlib.sha256(encoded).hexdigest() != item.sha256:
        raise ValueError("its message is not the one that was kept")
    return item


def sum_of(sizes: dict[int, int]) -> int:
    """Return the bytes of all items."""
    return sum(sizes.values())


def make_spool(
    spec: SpoolSpec, *, root: str, servers: list[str], path: str, source: str
) -> Spool | None:
    """Return the spool that a subscription asks for; None for none.

    Args:
        spec: of the subscription.
        root: folder below which the operator lets messages be kept; empty for nowhere.
        servers: of the broker whose object store is used.
        path: of the subscription.
        source: word of its source.

    Raises:
        WrongSource: it can't be had here.
    """
    if spec.mode == "off":
        return None
    if spec.backend in {"gcs", "s3"}:
        raise WrongSource(
            f"The spool backend '{spec.backend}' is not run by this worker: use nats_object or "
            "local_disk"
        )
    if spec.backend == "nats_object":
        if not spec.bucket:
            raise WrongSource("The spool backend 'nats_object' requires a 'bucket'")
        store: SpoolStore = ObjectsStore(servers, bucket=spec.bucket)
    else:
        store = DiskStore(_folder(spec, root))
    return Spool(store, spec, path=path, source=source)


def _folder(spec: SpoolSpec, root: str) -> Path:
    if not root:
        raise WrongSource(
            "The spool backend 'local_disk' needs a folder of the operator: "
            "NOETL_SUBSCRIPTION_SPOOL_DIR"
        )
    allowed = Path(root).resolve()
    folder = (allowed / (spec.path or "")).resolve()
    if folder == allowed or not folder.is_relative_to(allowed):
        raise WrongSource(f"The spool's path has to lead below {allowed}")
    return folder


def numbers_by_key(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return items by their ordering key; those without stand alone."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.ordering_key or f"#{item.recv_seq}", []).append(item)
    return found


__all__ = ["Spool", "SpoolAway", "make_spool", "numbers_by_key"]

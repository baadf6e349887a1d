"""Items in a bucket of NATS' object store."""

import asyncio
import contextlib

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError, NotFoundError
from nats.js.object_store import ObjectStore

from noetl_worker.subscriptions.spool.store import SpoolAway

_SECONDS = 10.0
_BROKEN = (NatsError, TimeoutError, OSError)


class ObjectsStore:
    """An object for each item; dead letters have a bucket of their own.

    Args:
        servers: of the broker.
        bucket: of this subscription alone.
    """

    def __init__(self, servers: list[str], *, bucket: str) -> None:
        self._servers = servers
        self._bucket = bucket
        self._client = Client()
        self._items: ObjectStore | None = None
        self._dead: ObjectStore | None = None

    async def open(self) -> dict[int, int]:
        """Connect, make the buckets, and list the items."""
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.connect(
                    servers=self._servers,
                    name="noetl-subscription-spool",
                    max_reconnect_attempts=-1,
                )
            self._items = await self._opened(self._bucket)
            self._dead = await self._opened(f"{self._bucket}_dlq")
            try:
                found = await self._items.list(ignore_deletes=True)
            except NotFoundError:
                found = []
        except _BROKEN as error:
            raise _away(error) from error
        return {int(one.name): one.size or 0 for one in found if one.name.isdigit()}

    async def put(self, number: int, data: bytes) -> None:
        """Store an object."""
        await self._store(self._items, number, data)

    async def get(self, number: int) -> bytes:
        """Read an object."""
        if self._items is None:
            raise SpoolAway("not open")
        try:
            return (await self._items.get(str(number))).data or b""
        except _BROKEN as error:
            raise _away(error) from error

    async def delete(self, number: int) -> None:
        """Delete an object."""
        if self._items is None:
            raise SpoolAway("not open")
        try:
            await self._items.delete(str(number))
        except NotFoundError:
            return
        except _BROKEN as error:
            raise _away(error) from error

    async def bury(self, number: int, data: bytes) -> None:
        """Store an object with the dead letters."""
        await self._store(self._dead, number, data)

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(*_BROKEN):
            async with asyncio.timeout(2):
                await self._client.close()

    async def _opened(self, bucket: str) -> ObjectStore:
        js = self._client.jetstream(timeout=_SECONDS)
        try:
            return await js.object_store(bucket)
        except BucketNotFoundError:
            return await js.create_object_store(bucket)

    async def _store(self, store: ObjectStore | None, number: int, data: bytes) -> None:
        if store is None:
            raise SpoolAway("not open")
        try:
            await store.put(str(number), data)
        except _BROKEN as error:
            raise _away(error) from error


def _away(error: BaseException) -> SpoolAway:
    described = getattr(error, "description", None)
    return SpoolAway(str(described or error) or type(error).__name__)

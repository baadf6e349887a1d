"""Bodies in an object store of the broker; as durable as its JetStream is."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import nats.errors
from nats.js.api import ObjectStoreConfig
from nats.js.errors import BucketNotFoundError, NotFoundError, ObjectNotFoundError
from nats.js.errors import DigestMismatchError as NatsDigestMismatch
from nats.js.errors import Error as JetStreamError
from nats.js.object_store import ObjectStore
from noetl_bus.broker import Bus

from noetl_projector.results.bodies.place import BodyDamaged, BodyGone, PlaceUnavailable
from noetl_projector.settings import Settings

_PROBE_SECONDS = 2.0


class ObjectStorePlace:
    """A bucket, made when it is first needed; locations are ``<bucket>/<key>``."""

    name = "object"

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._bucket = settings.result_object_bucket
        self._replicas = settings.result_object_replicas
        self._seconds = settings.result_transfer_seconds

    def location(self, key: str) -> str:
        """Return the location of a new body."""
        return f"{self._bucket}/{key}"

    async def put(self, location: str, body: bytes) -> None:
        """Store a body, in chunks."""
        bucket, _, key = location.partition("/")
        with _translated(location):
            async with asyncio.timeout(self._seconds):
                store = await self._open(bucket, is_wanted=True)
                await store.put(key, body)

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body; the library compares its digest."""
        bucket, _, key = location.partition("/")
        into = BytesIO()
        with _translated(location):
            async with asyncio.timeout(self._seconds):
                store = await self._open(bucket, is_wanted=False)
                info = await store.get_info(key)
                if info.size != size:
                    raise BodyDamaged(store=self.name, location=location)
                await store.get(key, writeinto=into)
        return into.getvalue()

    async def delete(self, location: str) -> None:
        """Remove a body and the mark that a removal leaves."""
        bucket, _, key = location.partition("/")
        mark = base64.urlsafe_b64encode(key.encode()).decode()
        with _translated(location):
            try:
                async with asyncio.timeout(self._seconds):
                    store = await self._open(bucket, is_wanted=False)
                    await store.delete(key)
                    await self._bus.js.purge_stream(
                        f"OBJ_{bucket}", subject=f"$O.{bucket}.M.{mark}"
                    )
            except NotFoundError:
                return

    async def is_ready(self) -> bool:
        """Return whether the bucket exists, after creating it if necessary."""
        with _translated(self._bucket):
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._open(self._bucket, is_wanted=True)
        return True

    async def _open(self, bucket: str, *, is_wanted: bool) -> ObjectStore:
        try:
            return await self._bus.js.object_store(bucket)
        except BucketNotFoundError:
            if not is_wanted:
                raise
        config = ObjectStoreConfig(
            bucket=bucket, description="Bodies of results", replicas=self._replicas
        )
        return await self._bus.js.create_object_store(bucket, config=config)


@contextmanager
def _translated(location: str) -> Iterator[None]:
    try:
        yield
    except (ObjectNotFoundError, BucketNotFoundError) as error:
        raise BodyGone(store=ObjectStorePlace.name, location=location) from error
    except NatsDigestMismatch as error:
        raise BodyDamaged(store=ObjectStorePlace.name, location=location) from error
    except (JetStreamError, nats.errors.Error, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise PlaceUnavailable(store=ObjectStorePlace.name, reason=reason) from error

"""Bodies in S3 or a compatible store."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from noetl_projector.results.bodies.place import BodyDamaged, BodyGone, PlaceUnavailable
from noetl_projector.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Config


_PROBE_SECONDS = 2.0
_CONNECT_SECONDS = 3.0
_LONGEST_REASON = 200
_PIECE = 8 << 20
_AT_ONCE = 4


class S3Place:
    """A bucket; locations are ``<bucket>/<prefix><key>``, so that another setting finds them."""

    name = "s3"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seconds = settings.result_transfer_seconds
        self._buckets: dict[str, S3Store] = {}

    def location(self, key: str) -> str:
        """Return where a new body goes."""
        return f"{self._settings.result_s3_bucket}/{self._settings.result_s3_prefix}{key}"

    async def put(self, location: str, body: bytes) -> None:
        """Store a body; a large one in pieces."""
        store, path = self._find(location)
        with _translated(location):
            async with asyncio.timeout(self._seconds):
                await obstore.put_async(
                    store, path, body, chunk_size=_PIECE, max_concurrency=_AT_ONCE
                )

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body, read no further than its size."""
        store, path = self._find(location)
        with _translated(location):
            async with asyncio.timeout(self._seconds):
                answer = await obstore.get_async(store, path)
                if answer.meta["size"] != size:
                    raise BodyDamaged(store=self.name, location=location)
                return bytes(await answer.bytes_async())

    async def delete(self, location: str) -> None:
        """Remove a body."""
        store, path = self._find(location)
        with _translated(location):
            async with asyncio.timeout(self._seconds):
                try:
                    await obstore.delete_async(store, path)
                except (NotFoundError, FileNotFoundError):
                    return

    async def is_ready(self) -> bool:
        """Return whether the bucket can be listed."""
        store, path = self._find(self.location("probe"))
        with _translated(self._settings.result_s3_bucket):
            async with asyncio.timeout(_PROBE_SECONDS):
                try:
                    # A list, not a look at one object: that is 404 without a bucket, too.
                    await obstore.list_with_delimiter_async(store, path)
                except (NotFoundError, FileNotFoundError) as error:
                    reason = f"no bucket '{self._settings.result_s3_bucket}'"
                    raise PlaceUnavailable(store=self.name, reason=reason) from error
        return True

    def _find(self, location: str) -> tuple[S3Store, str]:
        bucket, _, path = location.partition("/")
        store = self._buckets.get(bucket)
        if store is None:
            store = self._buckets[bucket] = self._open(bucket)
        return store, path

    def _open(self, bucket: str) -> S3Store:
        settings = self._settings
        wanted: S3Config = {"region": settings.aws_region or "us-east-1"}
        if settings.result_s3_endpoint:
            wanted["endpoint"] = settings.result_s3_endpoint
        if settings.aws_access_key_id:
            wanted["access_key_id"] = settings.aws_access_key_id
            wanted["secret_access_key"] = settings.aws_secret_access_key.get_secret_value()
            if token := settings.aws_session_token.get_secret_value():
                wanted["session_token"] = token
        return S3Store(
            bucket,
            config=wanted,
            client_options={
                "allow_http": settings.result_s3_endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=self._seconds),
            },
            retry_config={
                "max_retries": 3,
                "retry_timeout": timedelta(seconds=self._seconds),
                "backoff": {
                    "base": 2,
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                },
            },
        )


@contextmanager
def _translated(location: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise BodyGone(store=S3Place.name, location=location) from error
    except (BaseError, TimeoutError, OSError) as error:
        # Its text may go on for pages, with the whole answer of the server.
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise PlaceUnavailable(store=S3Place.name, reason=reason) from error

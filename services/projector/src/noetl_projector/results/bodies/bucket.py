"""Bodies in buckets: of S3 or a compatible store, and of Google Cloud Storage."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import obstore
import orjson
from noetl_common.logins import LoginUnreadable
from noetl_contract.json import JsonObject
from noetl_service.logins import StoredCredential
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, S3Store

from noetl_projector.results.bodies.place import BodyDamaged, BodyGone, PlaceUnavailable
from noetl_projector.settings import ACCOUNT_FIELDS, Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, RetryConfig, S3Config

S3: Final = "s3"
GCS: Final = "gcs"
_PROBE_SECONDS = 2.0
_CONNECT_SECONDS = 3.0
_LONGEST_REASON = 200
_PIECE = 8 << 20
_AT_ONCE = 4

type Bucket = S3Store | GCSStore


class BucketPlace:
    """A bucket; locations are ``<bucket>/<prefix><key>``, so that another setting finds them."""

    def __init__(
        self,
        name: str,
        *,
        bucket: str,
        prefix: str,
        opener: Callable[[str, JsonObject], Bucket],
        seconds: float,
        credential: StoredCredential | None = None,
    ) -> None:
        """Describe the place.

        Args:
            name: of the kind of place.
            bucket: where new bodies go.
            prefix: of their keys.
            opener: makes a client of a bucket, with the fields of the credential.
            seconds: timeout of the transfer of one body.
            credential: login of the bucket, read anew when it is refused; without one the opener
                is given no fields.
        """
        self.name = name
        self._bucket = bucket
        self._prefix = prefix
        self._opener = opener
        self._seconds = seconds
        self._credential = credential
        self._buckets: dict[str, tuple[JsonObject, Bucket]] = {}

    def location(self, key: str) -> str:
        """Return the location of a new body."""
        return f"{self._bucket}/{self._prefix}{key}"

    async def put(self, location: str, body: bytes) -> None:
        """Store a body; a large one in pieces."""

        async def put(store: Bucket, path: str) -> None:
            await obstore.put_async(store, path, body, chunk_size=_PIECE, max_concurrency=_AT_ONCE)

        await self._run(location, put)

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body, read no further than its size."""

        async def get(store: Bucket, path: str) -> bytes:
            answer = await obstore.get_async(store, path)
            if answer.meta["size"] != size:
                raise BodyDamaged(store=self.name, location=location)
            return bytes(await answer.bytes_async())

        return await self._run(location, get)

    async def delete(self, location: str) -> None:
        """Remove a body."""

        async def delete(store: Bucket, path: str) -> None:
            with suppress(NotFoundError, FileNotFoundError):
                await obstore.delete_async(store, path)

        await self._run(location, delete)

    async def is_ready(self) -> bool:
        """Return whether the bucket can be listed."""

        async def look(store: Bucket, path: str) -> None:
            try:
                # A list, not a look at one object: that is 404 without a bucket, too.
                await obstore.list_with_delimiter_async(store, path)
            except (NotFoundError, FileNotFoundError) as error:
                reason = f"no bucket '{self._bucket}'"
                raise PlaceUnavailable(store=self.name, reason=reason) from error

        await self._run(self.location("probe"), look, seconds=_PROBE_SECONDS)
        return True

    async def _run[Result](
        self,
        location: str,
        work: Callable[[Bucket, str], Awaitable[Result]],
        *,
        seconds: float | None = None,
    ) -> Result:
        """Run with today's login, and once more with another when that is refused."""
        with self._translated(location):
            async with asyncio.timeout(self._seconds if seconds is None else seconds):
                if self._credential is None:
                    return await work(*self._find(location, {}))
                fields = await self._credential.fields()
                try:
                    return await work(*self._find(location, fields))
                except (PermissionDeniedError, UnauthenticatedError):
                    others = await self._credential.after_refusal(fields)
                    if others == fields:
                        raise
                return await work(*self._find(location, others))

    def _find(self, location: str, fields: JsonObject) -> tuple[Bucket, str]:
        bucket, _, path = location.partition("/")
        known = self._buckets.get(bucket)
        if known is None or known[0] != fields:
            known = self._buckets[bucket] = fields, self._opener(bucket, fields)
        return known[1], path

    @contextmanager
    def _translated(self, location: str) -> Iterator[None]:
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            raise BodyGone(store=self.name, location=location) from error
        except (BaseError, TimeoutError, OSError) as error:
            # Its text may go on for pages, with the whole answer of the server.
            reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
            raise PlaceUnavailable(store=self.name, reason=reason) from error


def open_buckets(
    settings: Settings, logins: Mapping[str, StoredCredential] = MappingProxyType({})
) -> dict[str, BucketPlace]:
    """Make the buckets that the settings describe, by the names of their stores.

    Args:
        settings: say where they are.
        logins: stored credentials by store, in place of the keys of the settings.
    """
    places: dict[str, BucketPlace] = {}
    if settings.result_s3_bucket:
        places[S3] = s3_place(settings, logins.get(S3))
    if settings.result_gcs_bucket:
        places[GCS] = gcs_place(settings, logins.get(GCS))
    return places


def s3_place(settings: Settings, credential: StoredCredential | None = None) -> BucketPlace:
    """Return the bucket of S3 that the settings describe."""
    wanted: S3Config = {"region": settings.aws_region or "us-east-1"}
    if settings.result_s3_endpoint:
        wanted["endpoint"] = settings.result_s3_endpoint
    if settings.aws_access_key_id:
        wanted["access_key_id"] = settings.aws_access_key_id
        wanted["secret_access_key"] = settings.aws_secret_access_key.get_secret_value()
        if token := settings.aws_session_token.get_secret_value():
            wanted["session_token"] = token
    client, retries = _timeouts(settings, endpoint=settings.result_s3_endpoint)

    def opened(bucket: str, fields: JsonObject) -> Bucket:
        own = _s3_keys(fields) if credential is not None else {}
        return S3Store(
            bucket, config={**wanted, **own}, client_options=client, retry_config=retries
        )

    return BucketPlace(
        S3,
        bucket=settings.result_s3_bucket,
        prefix=settings.result_s3_prefix,
        opener=opened,
        seconds=settings.result_transfer_seconds,
        credential=credential,
    )


def _s3_keys(fields: JsonObject) -> "S3Config":
    """Return the keys of a credential, which may have `aws_` before their names.

    Raises:
        LoginUnreadable: it has none.
    """
    key_id, secret, session = (
        str(fields.get(name) or fields.get(f"aws_{name}") or "")
        for name in ("access_key_id", "secret_access_key", "session_token")
    )
    if not key_id or not secret:
        problem = "the credential of the bucket lacks access_key_id or secret_access_key"
        raise LoginUnreadable(problem)
    keys: S3Config = {"access_key_id": key_id, "secret_access_key": secret}
    return {**keys, "session_token": session} if session else keys


def gcs_place(settings: Settings, credential: StoredCredential | None = None) -> BucketPlace:
    """Return the bucket of Google Cloud Storage that the settings describe."""
    endpoint = settings.result_gcs_endpoint
    wanted: GCSConfig = {}
    if endpoint:
        wanted["base_url"] = endpoint
    key = settings.result_gcs_key.get_secret_value()
    if key and credential is None:
        wanted["service_account_key"] = key
    elif credential is None and endpoint.startswith("http://"):
        # No identity is sent over plain HTTP, which others can read; an emulator needs none.
        wanted["bearer_token"] = "none"  # noqa: S105  no secret
    client, retries = _timeouts(settings, endpoint=endpoint)

    def opened(bucket: str, fields: JsonObject) -> Bucket:
        own = _account_key(fields) if credential is not None else {}
        return GCSStore(
            bucket, config={**wanted, **own}, client_options=client, retry_config=retries
        )

    return BucketPlace(
        GCS,
        bucket=settings.result_gcs_bucket,
        prefix=settings.result_gcs_prefix,
        opener=opened,
        seconds=settings.result_transfer_seconds,
        credential=credential,
    )


def _account_key(fields: JsonObject) -> "GCSConfig":
    """Return the key of a service account that a credential is.

    Raises:
        LoginUnreadable: it is none.
    """
    if not all(fields.get(name) for name in ACCOUNT_FIELDS):
        raise LoginUnreadable("the credential of the bucket lacks client_email or private_key")
    return {"service_account_key": orjson.dumps(fields).decode()}


def _timeouts(settings: Settings, *, endpoint: str) -> tuple["ClientConfig", "RetryConfig"]:
    seconds = timedelta(seconds=settings.result_transfer_seconds)
    return (
        {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "timeout": seconds,
        },
        {
            "max_retries": 3,
            "retry_timeout": seconds,
            "backoff": {
                "base": 2,
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
            },
        },
    )

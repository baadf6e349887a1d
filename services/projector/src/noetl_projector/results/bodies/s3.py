"""Bodies in S3 or a compatible store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import obstore
from noetl_common.logins.login import LoginUnreadable
from noetl_common.logins.stored import StoredCredential
from noetl_contract.json import JsonObject
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
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


@dataclass(frozen=True, slots=True)
class _Keys:
    """A login of S3; without a key's id the machine's own identity."""

    key_id: str
    secret: str = field(repr=False)
    session: str = field(repr=False)

    @classmethod
    def of(cls, fields: JsonObject) -> Self:
        """Read the fields of a credential, with `aws_` before their names or not."""
        key_id, secret, session = (
            str(fields.get(name) or fields.get(f"aws_{name}") or "")
            for name in ("access_key_id", "secret_access_key", "session_token")
        )
        if not key_id or not secret:
            problem = "the credential of the bucket lacks access_key_id or secret_access_key"
            raise LoginUnreadable(problem)
        return cls(key_id, secret, session)


class S3Place:
    """A bucket; locations are ``<bucket>/<prefix><key>``, so that another setting finds them."""

    name = "s3"

    def __init__(self, settings: Settings, credential: StoredCredential | None = None) -> None:
        self._settings = settings
        self._credential = credential
        self._seconds = settings.result_transfer_seconds
        self._buckets: dict[str, tuple[_Keys, S3Store]] = {}

    def location(self, key: str) -> str:
        """Return where a new body goes."""
        return f"{self._settings.result_s3_bucket}/{self._settings.result_s3_prefix}{key}"

    async def put(self, location: str, body: bytes) -> None:
        """Store a body; a large one in pieces."""

        async def put(store: S3Store, path: str) -> None:
            await obstore.put_async(store, path, body, chunk_size=_PIECE, max_concurrency=_AT_ONCE)

        await self._run(location, put)

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body, read no further than its size."""

        async def get(store: S3Store, path: str) -> bytes:
            answer = await obstore.get_async(store, path)
            if answer.meta["size"] != size:
                raise BodyDamaged(store=self.name, location=location)
            return bytes(await answer.bytes_async())

        return await self._run(location, get)

    async def delete(self, location: str) -> None:
        """Remove a body."""

        async def delete(store: S3Store, path: str) -> None:
            with suppress(NotFoundError, FileNotFoundError):
                await obstore.delete_async(store, path)

        await self._run(location, delete)

    async def is_ready(self) -> bool:
        """Return whether the bucket can be listed."""

        async def look(store: S3Store, path: str) -> None:
            try:
                # A list, not a look at one object: that is 404 without a bucket, too.
                await obstore.list_with_delimiter_async(store, path)
            except (NotFoundError, FileNotFoundError) as error:
                reason = f"no bucket '{self._settings.result_s3_bucket}'"
                raise PlaceUnavailable(store=self.name, reason=reason) from error

        await self._run(self.location("probe"), look, seconds=_PROBE_SECONDS)
        return True

    async def _run[Result](
        self,
        location: str,
        work: Callable[[S3Store, str], Awaitable[Result]],
        *,
        seconds: float | None = None,
    ) -> Result:
        """Run with today's keys, and once more with others when these are refused."""
        with _translated(location):
            async with asyncio.timeout(self._seconds if seconds is None else seconds):
                if self._credential is None:
                    return await work(*self._find(location, self._own_keys()))
                fields = await self._credential.fields()
                keys = _Keys.of(fields)
                try:
                    return await work(*self._find(location, keys))
                except (PermissionDeniedError, UnauthenticatedError):
                    others = _Keys.of(await self._credential.after_refusal(fields))
                    if others == keys:
                        raise
                return await work(*self._find(location, others))

    def _own_keys(self) -> "_Keys":
        settings = self._settings
        secret, session = settings.aws_secret_access_key, settings.aws_session_token
        return _Keys(
            settings.aws_access_key_id, secret.get_secret_value(), session.get_secret_value()
        )

    def _find(self, location: str, keys: "_Keys") -> tuple[S3Store, str]:
        bucket, _, path = location.partition("/")
        known = self._buckets.get(bucket)
        if known is None or known[0] != keys:
            known = self._buckets[bucket] = keys, self._open(bucket, keys)
        return known[1], path

    def _open(self, bucket: str, keys: "_Keys") -> S3Store:
        settings = self._settings
        wanted: S3Config = {"region": settings.aws_region or "us-east-1"}
        if settings.result_s3_endpoint:
            wanted["endpoint"] = settings.result_s3_endpoint
        if keys.key_id:
            wanted["access_key_id"] = keys.key_id
            wanted["secret_access_key"] = keys.secret
            if keys.session:
                wanted["session_token"] = keys.session
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

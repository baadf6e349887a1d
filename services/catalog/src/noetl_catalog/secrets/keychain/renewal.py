"""Leases on secrets, so that one process asks a provider at a time, and pauses after failures.

The process that asks holds a lease, a row of the database that all catalogs see. It ends by
itself, so that a process that dies delays the others no longer than that. A failure is kept in the
same row: until its pause is over, all callers get that failure without the provider being asked,
and the pauses grow.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_catalog.providers.errors import (
    ProviderFailed,
    ProviderMisconfigured,
    ProviderUnreachable,
)
from noetl_catalog.secrets.keys.box import Opened
from noetl_catalog.secrets.rows import Renewal
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 5.0
_OUTCOMES = ("asked", "found", "waited", "resting", "failed")
_LEASES = metrics.counter(
    "noetl_secret_renewals_total",
    "Wishes for a secret of a provider: asked for it, found it renewed, waited for another "
    "process, got an earlier failure, or failed",
    ["outcome"],
    zeros=_OUTCOMES,
)

_log = get_logger()

type Look = Callable[[], Awaitable[Opened | None]]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to ask for the secret of a cache key."""

    cache_key: str
    holder: str


class Renewals:
    """Leases on secrets, and pauses after failures of their providers."""

    def __init__(self, store: SecretStore, *, settings: SecretSettings) -> None:
        self._store = store
        self._seconds = settings.keychain_renewal_seconds
        self._pause = settings.keychain_retry_seconds
        self._longest_pause = settings.keychain_retry_max_seconds

    async def once(
        self, cache_key: str, *, look: Look, ask: Callable[[Lease], Awaitable[Opened]], waits: bool
    ) -> Opened | None:
        """Return a secret, asked for by one process at a time.

        Args:
            cache_key: of the secret.
            look: finds a cached secret that is fresh enough.
            ask: asks the provider, and keeps what it gives while the lease is held.
            waits: whether to wait for another process that asks; else None says that one does, or
                that the provider is left alone.

        Raises:
            ProviderFailed: the provider gave none, to this process or lately to another one.
        """
        until = monotonic() + self._seconds + _MARGIN_SECONDS
        pause = _FIRST_LOOK_SECONDS
        while True:
            lease = Lease(cache_key, uuid4().hex)
            if await self._store.claim_renewal(cache_key, lease.holder, seconds=self._seconds):
                return await self._held(lease, look, ask)
            other = await self._store.find_renewal(cache_key)
            if other is not None and other.rests_seconds > 0:
                _LEASES.labels("resting").inc()
                if not waits:
                    return None
                raise _earlier(other)
            if not waits:
                return None
            if (found := await look()) is not None:
                _LEASES.labels("waited").inc()
                return found
            if monotonic() > until:
                raise ProviderUnreachable(
                    provider="keychain",
                    reason=f"another process asks for '{cache_key.partition(':')[0]}' and has not "
                    f"got it in {self._seconds:g} seconds",
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[float]:
        """Wait for a lease, and hold it while the block runs.

        Yields:
            the time for asking a provider, in seconds.

        Raises:
            ProviderUnreachable: others had it for too long.
        """
        lease = Lease(key, uuid4().hex)
        async for _ in backoff(
            first_seconds=_FIRST_LOOK_SECONDS,
            longest_seconds=_LONGEST_LOOK_SECONDS,
            # As long as the caller waits.
            total_seconds=self._seconds * 0.8,
        ):
            if await self._store.claim_renewal(key, lease.holder, seconds=self._seconds):
                break
        else:
            raise ProviderUnreachable(provider="keychain", reason=f"'{key}' is in use for too long")
        try:
            yield self._seconds * 0.8
        finally:
            await self._ended(lease)

    async def _held(
        self, lease: Lease, look: Look, ask: Callable[[Lease], Awaitable[Opened]]
    ) -> Opened:
        """Ask the provider, unless another process has just done so; release the lease."""
        try:
            found = await look()
            if found is not None:
                _LEASES.labels("found").inc()
                return found
            _LEASES.labels("asked").inc()
            # Ends before the lease does, so that no second process asks a provider that hangs.
            async with asyncio.timeout(self._seconds * 0.8):
                return await ask(lease)
        except TimeoutError as error:
            late = ProviderUnreachable(
                provider="keychain",
                reason=f"no answer for '{lease.cache_key.partition(':')[0]}' in "
                f"{self._seconds * 0.8:g} seconds",
            )
            await self._failed(lease, late)
            raise late from error
        except ProviderMisconfigured:
            # No provider was asked.
            raise
        except ProviderFailed as error:
            await self._failed(lease, error)
            raise
        finally:
            await asyncio.shield(self._ended(lease))

    async def _ended(self, lease: Lease) -> None:
        """Release a lease; it is gone already if the secret was stored or has failed."""
        try:
            await self._store.end_renewal(lease.cache_key, lease.holder)
        except NoetlError as error:
            # It ends by itself.
            _log.warning("renewal_not_ended", error=error.message)

    async def _failed(self, lease: Lease, error: ProviderFailed) -> None:
        _LEASES.labels("failed").inc()
        await self._store.fail_renewal(
            lease.cache_key,
            lease.holder,
            error={
                "provider": str(error.context.get("provider", "")),
                "reason": str(error.context.get("reason", ""))[:500],
                "asks_again": isinstance(error, ProviderUnreachable),
            },
            pause_seconds=self._pause,
            longest_seconds=self._longest_pause,
        )


def _earlier(found: Renewal) -> ProviderFailed:
    error = found.error or {}
    kind = ProviderUnreachable if error.get("asks_again") else ProviderFailed
    return kind(
        provider=error.get("provider"),
        reason=f"{error.get('reason')} (asked again in {found.rests_seconds:.0f} s)",
    )

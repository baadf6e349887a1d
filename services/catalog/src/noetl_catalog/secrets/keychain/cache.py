"""Cache of the providers' secrets, encrypted in the keychain's table."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.http.secrets.keychain import KeychainPut

from noetl_catalog.providers.provider import Secret
from noetl_catalog.secrets.audit import Action, Audit, Reader
from noetl_catalog.secrets.keys.box import Opened, SecretBox, row_of
from noetl_catalog.secrets.rows import KeychainRow
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_SHORTEST_LIFE_SECONDS = 5.0
# A shared token is renewed in the last quarter of a short life, and given out to its last tenth.
_WINDOW_OF_LIFE, _MARGIN_OF_LIFE = 0.25, 0.1
_LONGEST_MARGIN_SECONDS = 5.0
_LIFE_BUCKETS = (60, 300, 900, 3600, 14_400, 43_200)
_LIFE = metrics.histogram(
    "noetl_secret_dynamic_ttl_seconds", "Lifetimes of dynamic secrets", buckets=_LIFE_BUCKETS
)
_SKIPS = metrics.counter(
    "noetl_secret_cache_skip_total", "Secrets not cached", ["reason"], zeros=("already_expired",)
)
_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Place of a cached secret: key, owning entry and execution, and whether it is shared."""

    cache_key: str
    alias: str
    catalog_id: int
    execution_id: int
    is_shared: bool


class KeychainCache:
    """Secrets of providers, while they are valid."""

    def __init__(
        self, store: SecretStore, *, box: SecretBox, audit: Audit, settings: SecretSettings
    ) -> None:
        self._store = store
        self._box = box
        self._audit = audit
        self._settings = settings

    async def find(self, cache_key: str) -> tuple[Opened, bool] | None:
        """Return a cached secret and whether it is to be renewed; None on any failure.

        It can be fetched again.
        """
        try:
            row = await self._store.use_keychain(cache_key)
            if row is None or row.is_expired:
                return None
            opened = await self._box.open(row.data_encrypted, row=row_of("keychain", cache_key))
        except NoetlError as error:
            _log.warning("keychain_cache_unreadable", error=error.message)
            return None
        return opened, self._is_due(row)

    async def stored(self, cache_key: str) -> Opened | None:
        """Return a secret that a client has stored in the keychain.

        Raises:
            NoetlError: it can't be read.
        """
        row = await self._store.use_keychain(cache_key)
        if row is None or row.is_expired:
            return None
        return await self._box.open(row.data_encrypted, row=row_of("keychain", cache_key))

    async def fresh(self, cache_key: str) -> Opened | None:
        """Return a cached secret that needs no renewal."""
        found = await self.find(cache_key)
        return None if found is None or found[1] else found[0]

    async def keep(self, place: Place, fetched: Secret, *, holder: str) -> None:
        """Cache a secret while it is valid, if ``holder`` has its lease; a failure is no error."""
        now = datetime.now(UTC)
        if place.is_shared:
            life, end = shared_life(fetched.expires_at, now=now, settings=self._settings)
        else:
            end = fetched.expires_at
            found = cache_seconds(end, now=now, settings=self._settings)
            if found is None:
                _SKIPS.labels("already_expired").inc()
                return
            life = found if end is None else (end - now).total_seconds()
        try:
            closed = await self._box.close(fetched.value, row=row_of("keychain", place.cache_key))
            await self._store.keep_renewed(
                place.cache_key,
                KeychainPut(
                    catalog_id=place.catalog_id,
                    keychain_name=place.alias,
                    scope_type="global" if place.is_shared else "local",
                    execution_id=None if place.is_shared else place.execution_id,
                    cache_type="token" if place.is_shared else None,
                    renew_config={"life_seconds": life},
                    data=None,
                ),
                holder=holder,
                expires_at=end,
                life_seconds=life,
                data_encrypted=closed.text,
                audit=self._audit.row(
                    place.alias,
                    Action.RESOLVE_KEYCHAIN,
                    reader=Reader(execution_id=place.execution_id),
                    kek_version=closed.key_version,
                ),
            )
        except NoetlError as error:
            _log.warning("keychain_cache_not_written", error=error.message)

    def _is_due(self, row: KeychainRow) -> bool:
        seconds = self._settings.keychain_cache_refresh_window_secs
        if row.life_seconds is not None:
            seconds = min(seconds, row.life_seconds * _WINDOW_OF_LIFE)
        return row.expires_at - timedelta(seconds=seconds) <= datetime.now(UTC)


def cache_seconds(
    expires_at: datetime | None, *, now: datetime, settings: SecretSettings
) -> float | None:
    """Return the lifetime in the cache; None when the secret is about to expire."""
    longest = settings.keychain_cache_seconds
    if expires_at is None:
        return longest
    left = (expires_at - now).total_seconds()
    _LIFE.observe(max(left, 0.0))
    margin = settings.keychain_cache_dynamic_safety_margin_secs
    if left <= margin:
        return None
    return max(min(longest, left - margin), _SHORTEST_LIFE_SECONDS)


def shared_life(
    expires_at: datetime | None, *, now: datetime, settings: SecretSettings
) -> tuple[float, datetime | None]:
    """Return the lifetime of a shared token in the cache, in seconds, and its end.

    However short its life, it is kept: else each execution would ask for one of its own.
    """
    if expires_at is None:
        return settings.keychain_cache_seconds, None
    left = (expires_at - now).total_seconds()
    _LIFE.observe(max(left, 0.0))
    life = left - min(left * _MARGIN_OF_LIFE, _LONGEST_MARGIN_SECONDS)
    return life, now + timedelta(seconds=life)

"""Resolution of a keychain alias: an execution's playbook, a provider, a cache."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from weakref import WeakValueDictionary

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.http.secrets.keychain import KeychainPut
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_template import Renderer, TemplateError

from noetl_catalog.providers.provider import Secret
from noetl_catalog.providers.registry import Providers
from noetl_catalog.secrets.audit import Action, Audit, Reader
from noetl_catalog.secrets.errors import TemplateFailed
from noetl_catalog.secrets.keychain.definition import Definition
from noetl_catalog.secrets.keychain.entries import KeychainEntries, cache_key
from noetl_catalog.secrets.keychain.executions import Executions
from noetl_catalog.secrets.keychain.references import ReferenceGrants
from noetl_catalog.secrets.keychain.residency import check_residency
from noetl_catalog.secrets.keys.box import Opened, SecretBox, row_of
from noetl_catalog.secrets.rows import KeychainRow
from noetl_catalog.secrets.settings import SecretSettings
from noetl_catalog.secrets.store import SecretStore

_SHORTEST_LIFE_SECONDS = 5.0
_REFRESHERS = 4
_REFRESHES_WAITING = 256
_LIFE_BUCKETS = (60, 300, 900, 3600, 14_400, 43_200)
_B3 = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_RESOLVES = metrics.counter(
    "noetl_secret_resolve_total", "Provider reads", ["provider", "region", "status"]
)
_RESOLVE_DURATION = metrics.histogram(
    "noetl_secret_resolve_duration_seconds", "Their latency", ["provider", "region", "status"]
)
_LIFE = metrics.histogram(
    "noetl_secret_dynamic_ttl_seconds", "Lifetimes of dynamic secrets", buckets=_LIFE_BUCKETS
)
_SKIPS = metrics.counter(
    "noetl_secret_cache_skip_total", "Secrets not cached", ["reason"], zeros=("already_expired",)
)
_REFRESHED = metrics.counter(
    "noetl_secret_refresh_total",
    "Refreshes ahead of expiry",
    ["outcome"],
    zeros=("triggered", "succeeded", "failed", "stampede_collapsed"),
)
_REFRESH_DURATION = metrics.histogram(
    "noetl_secret_refresh_duration_seconds", "Their latency", buckets=_B3
)
_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Wanted:
    alias: str
    execution_id: int
    execution: ExecutionOrigin = field(repr=False)

    @property
    def cache_key(self) -> str:
        return self.key_in("local")

    def key_in(self, scope: str) -> str:
        return cache_key(
            self.alias,
            catalog_id=self.execution.catalog_id,
            scope_type=scope,
            execution_id=self.execution_id,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored credential that an entry names."""

    name: str


class KeychainResolver:
    """Secrets from the cache, else from the provider; renewed shortly before they expire.

    Concurrent requests for one secret are fetched once per process.
    """

    def __init__(
        self,
        store: SecretStore,
        *,
        box: SecretBox,
        executions: Executions,
        entries: KeychainEntries,
        providers: Providers,
        references: ReferenceGrants,
        audit: Audit,
        settings: SecretSettings,
    ) -> None:
        self._references = references
        self._store = store
        self._box = box
        self._executions = executions
        self._entries = entries
        self._providers = providers
        self._audit = audit
        self._settings = settings
        self._renderer = Renderer()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._refreshing: set[tuple[int, str]] = set()
        self._refreshes: asyncio.Queue[_Wanted] = asyncio.Queue(maxsize=_REFRESHES_WAITING)

    async def resolve(self, alias: str, *, execution_id: int) -> Opened | Stored | None:
        """Return the secret, or what it names; None when the execution's playbook has neither.

        Raises:
            ResidencyViolation: the entry is locked to another region.
            ReferenceRefused: the playbook may not ask the provider for it.
            ProviderFailed: the provider gave nothing.
            TemplateFailed: a reference can't be rendered.
            Unavailable: the log of the execution can't be read.
        """
        execution = await self._executions.find(execution_id)
        if execution is None:
            return None
        wanted = _Wanted(alias, execution_id, execution)
        cached = await self._cached(wanted)
        if cached is not None:
            return cached
        lock = self._locks.get(wanted.cache_key)
        if lock is None:
            lock = self._locks[wanted.cache_key] = asyncio.Lock()
        has_waited = lock.locked()
        async with lock:
            cached = await self._cached(wanted) if has_waited else None
            return cached or await self._resolve_anew(wanted)

    async def _resolve_anew(self, wanted: _Wanted) -> Opened | Stored | None:
        entry = await self._entries.find(wanted.execution.catalog_id, wanted.alias)
        if entry is None:
            return None
        check_residency(entry, alias=wanted.alias, server_region=self._settings.server_region)
        if entry.provider:
            return await self._provided(entry, wanted)
        return Stored(entry.credential) if entry.credential else await self._put(wanted)

    async def run(self) -> None:
        """Renew secrets in the background until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_REFRESHERS):
                group.create_task(self._run_refresher())

    async def _provided(self, entry: Definition, wanted: _Wanted) -> Opened:
        fetched = await self._measured(entry.provider, lambda: self._fetch(entry, wanted))
        await self._cache(wanted, fetched)
        return Opened(fetched.value, "")

    async def _fetch(self, entry: Definition, wanted: _Wanted) -> Secret:
        provider = self._providers.build(entry.provider)
        if entry.references is None:
            places = {"": entry.reference or wanted.alias}
        else:
            places = {
                key: self._rendered(wanted, key, template)
                for key, template in entry.references.items()
            }
        await self._check(entry, wanted, places.values())
        secrets = {key: await provider.fetch(place) for key, place in places.items()}
        if entry.references is None:
            return secrets[""]
        ends = [secret.expires_at for secret in secrets.values() if secret.expires_at is not None]
        values = {key: secret.value for key, secret in secrets.items()}
        return Secret(values, min(ends) if ends else None)

    async def _check(self, entry: Definition, wanted: _Wanted, places: Iterable[str]) -> None:
        """Check all references before the first is asked for.

        Raises:
            ReferenceRefused: one of them is not granted to the playbook.
        """
        if self._references.is_free:
            return
        path = await self._entries.path_of(wanted.execution.catalog_id)
        for place in places:
            self._references.check(
                path or "", alias=wanted.alias, provider=entry.provider, reference=place
            )

    def _rendered(self, wanted: _Wanted, key: str, template: str) -> str:
        workload = wanted.execution.workload
        try:
            return self._renderer.server_text(
                template, workload if isinstance(workload, dict) else {}
            )
        except TemplateError as error:
            raise TemplateFailed(entry=wanted.alias, key=key, reason=str(error)) from error

    async def _measured(self, provider: str, fetch: Callable[[], Awaitable[Secret]]) -> Secret:
        label = provider if self._providers.is_known(provider) else "other"
        region = self._settings.server_region or "-"
        status = "provider_fetch_error"
        started = perf_counter()
        try:
            fetched = await fetch()
            status = "ok"
        except TemplateFailed:
            status = "template_error"
            raise
        finally:
            _RESOLVES.labels(label, region, status).inc()
            _RESOLVE_DURATION.labels(label, region, status).observe(perf_counter() - started)
        return fetched

    async def _put(self, wanted: _Wanted) -> Opened | None:
        """Return what somebody has stored for all executions of the playbook."""
        key = wanted.key_in("global")
        row = await self._store.use_keychain(key)
        if row is None or row.is_expired:
            return None
        return await self._box.open(row.data_encrypted, row=row_of("keychain", key))

    # -- the cache -----------------------------------------------------------------------

    async def _cached(self, wanted: _Wanted) -> Opened | None:
        """Return the cached secret; None on any failure, since it can be fetched again."""
        try:
            row = await self._store.use_keychain(wanted.cache_key)
            if row is None or row.is_expired:
                return None
            opened = await self._box.open(
                row.data_encrypted, row=row_of("keychain", wanted.cache_key)
            )
        except NoetlError as error:
            _log.warning("keychain_cache_unreadable", error=error.message)
            return None
        self._refresh_if_due(row, wanted)
        return opened

    async def _cache(self, wanted: _Wanted, fetched: Secret) -> None:
        """Cache a secret while it is valid; a failure to cache is not an error."""
        life = cache_seconds(fetched.expires_at, now=datetime.now(UTC), settings=self._settings)
        if life is None:
            _SKIPS.labels("already_expired").inc()
            return
        try:
            closed = await self._box.close(fetched.value, row=row_of("keychain", wanted.cache_key))
            await self._store.put_keychain(
                wanted.cache_key,
                KeychainPut(
                    catalog_id=wanted.execution.catalog_id,
                    keychain_name=wanted.alias,
                    scope_type="local",
                    execution_id=wanted.execution_id,
                    data=None,
                ),
                expires_at=fetched.expires_at,
                life_seconds=life,
                data_encrypted=closed.text,
                audit=self._audit.row(
                    wanted.alias,
                    Action.RESOLVE_KEYCHAIN,
                    reader=Reader(execution_id=wanted.execution_id),
                    kek_version=closed.key_version,
                ),
            )
        except NoetlError as error:
            _log.warning("keychain_cache_not_written", error=error.message)

    # -- renewal -------------------------------------------------------------------------

    def _refresh_if_due(self, row: KeychainRow, wanted: _Wanted) -> None:
        window = timedelta(seconds=self._settings.keychain_cache_refresh_window_secs)
        if row.expires_at - window > datetime.now(UTC):
            return
        key = (wanted.execution.catalog_id, wanted.alias)
        if key in self._refreshing or self._refreshes.full():
            _REFRESHED.labels("stampede_collapsed").inc()
            return
        self._refreshing.add(key)
        self._refreshes.put_nowait(wanted)
        _REFRESHED.labels("triggered").inc()

    async def _run_refresher(self) -> None:
        while True:
            wanted = await self._refreshes.get()
            outcome = "failed"
            try:
                with _REFRESH_DURATION.time():
                    if await self._resolve_anew(wanted) is not None:
                        outcome = "succeeded"
            except NoetlError as error:
                # The row stays: requests after its expiry get the error.
                _log.warning("secret_refresh_failed", code=error.code, error=error.message)
            except Exception:  # noqa: BLE001 -- task supervisor: no request waits for it
                _log.exception("secret_refresh_failed")
            finally:
                self._refreshing.discard((wanted.execution.catalog_id, wanted.alias))
                _REFRESHED.labels(outcome).inc()


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

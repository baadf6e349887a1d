"""Resolution of a keychain alias: an execution's playbook, a provider, a cache."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import orjson
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_template import KEYCHAIN, Renderer, TemplateError

from noetl_catalog.providers.provider import Provider, Secret
from noetl_catalog.providers.registry import OAUTH2, Providers, check_provider
from noetl_catalog.secrets.errors import TemplateFailed
from noetl_catalog.secrets.keychain.cache import KeychainCache, Place
from noetl_catalog.secrets.keychain.definition import Definition
from noetl_catalog.secrets.keychain.entries import KeychainEntries, cache_key
from noetl_catalog.secrets.keychain.executions import Executions
from noetl_catalog.secrets.keychain.flights import Flights
from noetl_catalog.secrets.keychain.references import ReferenceGrants
from noetl_catalog.secrets.keychain.refresh import RefreshTokens
from noetl_catalog.secrets.keychain.renewal import Lease, Renewals
from noetl_catalog.secrets.keychain.residency import check_residency
from noetl_catalog.secrets.keychain.tokens import TokenRequests, names_in, place_of
from noetl_catalog.secrets.keys.box import Opened
from noetl_catalog.secrets.settings import SecretSettings

_REFRESHERS = 4
_REFRESHES_WAITING = 256
_B3 = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_RESOLVES = metrics.counter(
    "noetl_secret_resolve_total", "Provider reads", ["provider", "region", "status"]
)
_RESOLVE_DURATION = metrics.histogram(
    "noetl_secret_resolve_duration_seconds", "Their latency", ["provider", "region", "status"]
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
    entry: Definition | None

    @property
    def workload(self) -> JsonObject:
        workload = self.execution.workload
        return workload if isinstance(workload, dict) else {}

    @property
    def cache_key(self) -> str:
        entry = self.entry
        if entry is None or not entry.is_shared:
            return self.key_in("local")
        # Values that differ between executions make a token of its own.
        names = names_in(entry.options) - {KEYCHAIN}
        seen: JsonObject = {
            name: self.workload if name == "workload" else self.workload.get(name)
            for name in sorted(names)
        }
        key = self.key_in("global")
        if not seen:
            return key
        told = orjson.dumps([entry.credential, seen], option=orjson.OPT_SORT_KEYS)
        return f"{key}:{hashlib.sha256(told).hexdigest()[:32]}"

    def key_in(self, scope: str) -> str:
        return cache_key(
            self.alias,
            catalog_id=self.execution.catalog_id,
            scope_type=scope,
            execution_id=self.execution_id,
        )

    @property
    def place(self) -> Place:
        return Place(
            cache_key=self.cache_key,
            alias=self.alias,
            catalog_id=self.execution.catalog_id,
            execution_id=self.execution_id,
            is_shared=self.entry is not None and self.entry.is_shared,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored credential that an entry names."""

    name: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The value of an entry, and the type of credential that it is for tools."""

    opened: Opened
    type: str = "keychain"


class KeychainResolver:
    """Secrets from the cache, else from the provider; renewed shortly before they expire.

    Concurrent requests for one secret ask its provider once, over all processes.
    """

    def __init__(
        self,
        *,
        cache: KeychainCache,
        renewals: Renewals,
        executions: Executions,
        entries: KeychainEntries,
        providers: Providers,
        references: ReferenceGrants,
        tokens: TokenRequests,
        refresh_tokens: RefreshTokens,
        settings: SecretSettings,
    ) -> None:
        self._cache = cache
        self._renewals = renewals
        self._references = references
        self._executions = executions
        self._entries = entries
        self._providers = providers
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._settings = settings
        self._renderer = Renderer()
        self._flights: Flights[Opened | Stored | None] = Flights()
        self._refreshing: set[str] = set()
        self._refreshes: asyncio.Queue[_Wanted] = asyncio.Queue(maxsize=_REFRESHES_WAITING)

    async def resolve(self, alias: str, *, execution_id: int) -> Resolved | Stored | None:
        """Return the secret, or the credential it names; None for an unknown alias or execution.

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
        entry = await self._entries.find(execution.catalog_id, alias)
        wanted = _Wanted(alias, execution_id, execution, entry)
        found: Opened | Stored | None = await self._cached(wanted)
        if found is None and entry is not None:
            found = await self._flights.run(
                wanted.cache_key, partial(self._resolve_anew, entry, wanted)
            )
        if not isinstance(found, Opened):
            return found
        if entry is None or not self._providers.is_known(entry.provider):
            return Resolved(found)
        return Resolved(found, check_provider(entry.provider).credential_type)

    async def _resolve_anew(self, entry: Definition, wanted: _Wanted) -> Opened | Stored | None:
        check_residency(entry, alias=wanted.alias, server_region=self._settings.server_region)
        if entry.provider:
            # The row may be there by now: another process was first.
            return await self._renewals.once(
                wanted.cache_key,
                look=partial(self._cached, wanted),
                ask=partial(self._provided, entry, wanted),
                waits=True,
            )
        if entry.credential:
            return Stored(entry.credential)
        return await self._cache.stored(wanted.key_in("global"))

    async def run(self) -> None:
        """Renew secrets in the background until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_REFRESHERS):
                group.create_task(self._run_refresher())

    async def _provided(self, entry: Definition, wanted: _Wanted, lease: Lease) -> Opened:
        fetch = partial(self._measured, entry.provider, partial(self._fetch, entry, wanted))
        keep = partial(self._cache.keep, wanted.place, holder=lease.holder)
        if entry.is_by_refresh:
            fetched = await self._refresh_tokens.use(
                entry.credential, fetch=fetch, keep=keep, execution_id=wanted.execution_id
            )
        else:
            fetched = await fetch()
            await keep(fetched)
        return Opened(fetched.value, "")

    async def _fetch(self, entry: Definition, wanted: _Wanted) -> Secret:
        provider = self._providers.build(entry.provider)
        options: JsonObject = {}
        if type(provider).fetch_entry is not Provider.fetch_entry:
            options = await self._tokens.options(
                entry,
                workload=wanted.workload,
                execution_id=wanted.execution_id,
                find=partial(self._other, wanted),
            )
        if entry.provider == OAUTH2:
            places = {"": place_of(str(options.get("endpoint")))}
        elif entry.references is None:
            places = {"": entry.reference or wanted.alias}
        else:
            places = {
                key: self._rendered(wanted, key, template)
                for key, template in entry.references.items()
            }
        await self._check(entry, wanted, places.values())
        secrets = {key: await provider.fetch_entry(place, options) for key, place in places.items()}
        if entry.references is None or entry.provider == OAUTH2:
            return secrets[""]
        ends = [secret.expires_at for secret in secrets.values() if secret.expires_at is not None]
        values = {key: secret.value for key, secret in secrets.items()}
        return Secret(values, min(ends) if ends else None)

    async def _other(self, wanted: _Wanted, name: str) -> Json:
        """Return the value of another entry, which a template of this one names.

        Raises:
            TemplateFailed: there is none, or it is a token itself.
        """
        entry = await self._entries.find(wanted.execution.catalog_id, name)
        if entry is None or entry.provider == OAUTH2:
            reason = f"it names '{name}', which is " + ("a token" if entry else "no entry")
            raise TemplateFailed(entry=wanted.alias, key="endpoint", reason=reason)
        found = await self.resolve(name, execution_id=wanted.execution_id)
        if isinstance(found, Stored):
            body, value = await self._tokens.stored(
                name, found.name, execution_id=wanted.execution_id
            )
            if body.allowed_hosts is None:
                return value
            reason = f"'{name}' may be sent to its hosts only: name it in 'credential'"
        elif found is not None:
            return found.opened.value
        else:
            reason = f"'{name}' has no value"
        raise TemplateFailed(entry=wanted.alias, key="data", reason=reason)

    async def _check(self, entry: Definition, wanted: _Wanted, places: Iterable[str]) -> None:
        """Check that the playbook may read all references, before the first is read.

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
        try:
            return self._renderer.server_text(template, wanted.workload)
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

    async def _cached(self, wanted: _Wanted) -> Opened | None:
        found = await self._cache.find(wanted.cache_key)
        if found is None:
            return None
        opened, is_due = found
        if is_due and wanted.entry is not None and wanted.entry.provider:
            self._refresh(wanted)
        return opened

    # -- renewal -------------------------------------------------------------------------

    def _refresh(self, wanted: _Wanted) -> None:
        key = wanted.cache_key
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
                    outcome = await self._renewed(wanted)
            except NoetlError as error:
                # The row stays: requests after its expiry get the error.
                _log.warning("secret_refresh_failed", code=error.code, error=error.message)
            except Exception:  # noqa: BLE001 -- task supervisor: no request waits for it
                _log.exception("secret_refresh_failed")
            finally:
                self._refreshing.discard(wanted.cache_key)
                _REFRESHED.labels(outcome).inc()

    async def _renewed(self, wanted: _Wanted) -> str:
        """Renew a secret, unless another process does; return the outcome for the metric."""
        entry = wanted.entry
        if entry is None:
            return "failed"
        check_residency(entry, alias=wanted.alias, server_region=self._settings.server_region)
        found = await self._renewals.once(
            wanted.cache_key,
            look=partial(self._cache.fresh, wanted.cache_key),
            ask=partial(self._provided, entry, wanted),
            waits=False,
        )
        return "stampede_collapsed" if found is None else "succeeded"

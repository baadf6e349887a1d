"""Providers of all installed packages by the names that keychain entries use."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from typing import Final

import httpx
from noetl_common import metrics
from noetl_common.process.extensions import extensions

from noetl_catalog.providers.calls import Calls
from noetl_catalog.providers.errors import (
    ProviderFailed,
    ProviderMisconfigured,
    ProviderUnreachable,
)
from noetl_catalog.providers.provider import Provider
from noetl_catalog.providers.settings import ProviderSettings

GROUP: Final = "noetl.keychain_providers"
OAUTH2: Final = "oauth2"
# In the order in which errors name them.
_BUILT_IN = ("gcp", "gcp_iam", "k8s", "vault", "aws", "aws_sts", "azure", "azure_oauth", OAUTH2)
_PACKAGE = "noetl-keychain-providers"
_PACKAGED = frozenset(_BUILT_IN) - {OAUTH2}
_ALIASES: Mapping[str, str] = {
    "gcp_iamcredentials": "gcp_iam",
    "kubernetes": "k8s",
    "aws_sm": "aws",
    "aws_iam": "aws_sts",
    "azure_kv": "azure",
    "azure_aad": "azure_oauth",
}
_BUILDS = metrics.counter(
    "noetl_secret_provider_build_total", "Created providers", ["provider", "region", "status"]
)


def kind_of(name: str) -> str:
    """Return the name of a provider without its aliases."""
    return _ALIASES.get(name, name)


class UnknownProvider(ProviderMisconfigured):
    """No provider has that name."""

    template = "unsupported keychain secret provider '{provider}' (supported: {supported})"


class MissingProvider(UnknownProvider):
    """The provider is in a package that isn't installed."""

    template = (
        "keychain secret provider '{provider}' is in the package {package}: "
        "install it beside the catalog"
    )


def load_providers(found: Iterable[EntryPoint] | None = None) -> Mapping[str, type[Provider]]:
    """Return the providers of all installed packages, by name.

    Raises:
        BadExtension: two packages use the same name, or an entry point can't be loaded or is not a
            provider.
    """
    kinds: dict[str, type[Provider]] = {}
    for extension in extensions(GROUP, "keychain secret provider", taken=_ALIASES, found=found):
        kind = extension.load()
        if not (isinstance(kind, type) and issubclass(kind, Provider)):
            raise extension.refused(f"{extension.entry.value} is no class that extends Provider")
        kinds[extension.name] = kind
    return kinds


@cache
def installed_providers() -> Mapping[str, type[Provider]]:
    """Return the result of `load_providers`, which is cached."""
    return load_providers()


def check_provider(name: str, kinds: Mapping[str, type[Provider]] | None = None) -> type[Provider]:
    """Return the class of a provider.

    Raises:
        UnknownProvider: no provider has that name; the text lists the installed providers, or names
            the package.
    """
    known = installed_providers() if kinds is None else kinds
    found = known.get(kind_of(name))
    if found is None and kind_of(name) in _PACKAGED:
        raise MissingProvider(provider=name, package=_PACKAGE)
    if found is None:
        built_in = [one for one in _BUILT_IN if one in known]
        supported = ", ".join([*built_in, *sorted(known.keys() - set(built_in))])
        raise UnknownProvider(provider=name[:100], supported=supported)
    return found


class Providers:
    """Factory of providers by name.

    Args:
        client: HTTP client of all providers.
        settings: addresses and logins of the providers.
        region: region of this cluster, for metrics.
        kinds: the providers, by default those of all installed packages.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        settings: ProviderSettings,
        *,
        region: str = "",
        kinds: Mapping[str, type[Provider]] | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._region = region or "-"
        self._kinds = installed_providers() if kinds is None else kinds

    def is_known(self, name: str) -> bool:
        """Return whether a provider of a name is installed."""
        return kind_of(name) in self._kinds

    def build(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            UnknownProvider: there is no provider of that name.
        """
        kind = kind_of(name)
        try:
            made = check_provider(name, self._kinds)
        except UnknownProvider:
            _BUILDS.labels("other", self._region, "error").inc()
            raise
        failed: type[ProviderFailed] = ProviderUnreachable if made.asks_again else ProviderFailed
        calls = Calls(
            self._client,
            provider=f"keychain secret provider '{kind}'",
            timeout_seconds=self._settings.secret_provider_timeout_seconds,
            failed=failed,
            ca_file=made.ca_file(self._settings),
        )
        _BUILDS.labels(kind, self._region, "ok").inc()
        return made(calls, self._settings)

"""Providers by the name that keychain entries use."""

from collections.abc import Mapping

import httpx
from noetl_common import metrics

from noetl_catalog.providers.aws import AwsSecrets, AwsSts
from noetl_catalog.providers.azure import AzureOauth, AzureVault
from noetl_catalog.providers.calls import Calls
from noetl_catalog.providers.errors import (
    ProviderFailed,
    ProviderMisconfigured,
    ProviderUnreachable,
)
from noetl_catalog.providers.gcp import GcpIam, GcpSecrets
from noetl_catalog.providers.k8s import K8s
from noetl_catalog.providers.provider import Provider
from noetl_catalog.providers.settings import ProviderSettings
from noetl_catalog.providers.vault import Vault

_SUPPORTED = "gcp, gcp_iam, k8s, vault, aws, aws_sts, azure, azure_oauth"
_ALIASES: Mapping[str, str] = {
    "gcp_iamcredentials": "gcp_iam",
    "kubernetes": "k8s",
    "aws_sm": "aws",
    "aws_iam": "aws_sts",
    "azure_kv": "azure",
    "azure_aad": "azure_oauth",
}
_MAKERS: Mapping[str, type[Provider]] = {
    "gcp": GcpSecrets,
    "gcp_iam": GcpIam,
    "k8s": K8s,
    "vault": Vault,
    "aws": AwsSecrets,
    "aws_sts": AwsSts,
    "azure": AzureVault,
    "azure_oauth": AzureOauth,
}
# Only failures of these tell workers by their status to ask again.
_RETRYABLE = frozenset({"gcp", "k8s", "vault"})
_BUILDS = metrics.counter(
    "noetl_secret_provider_build_total", "Providers made", ["provider", "region", "status"]
)


def kind_of(name: str) -> str:
    """Return the name of a provider without its aliases."""
    return _ALIASES.get(name, name)


class UnknownProvider(ProviderMisconfigured):
    """No provider has that name."""

    template = f"unsupported keychain secret provider '{{provider}}' (supported: {_SUPPORTED})"


class Providers:
    """Factory of providers by name."""

    def __init__(
        self, client: httpx.AsyncClient, settings: ProviderSettings, *, region: str = ""
    ) -> None:
        self._client = client
        self._settings = settings
        self._region = region or "-"

    def is_known(self, name: str) -> bool:
        """Whether there is a provider of that name."""
        return kind_of(name) in _MAKERS

    def build(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            UnknownProvider: there is no provider of that name.
        """
        kind = kind_of(name)
        make = _MAKERS.get(kind)
        if make is None:
            _BUILDS.labels("other", self._region, "error").inc()
            raise UnknownProvider(provider=name)
        failed: type[ProviderFailed] = ProviderUnreachable if kind in _RETRYABLE else ProviderFailed
        calls = Calls(
            self._client,
            provider=f"keychain secret provider '{kind}'",
            timeout_seconds=self._settings.secret_provider_timeout_seconds,
            failed=failed,
            ca_file={"k8s": self._ca_of_pod(), "vault": self._settings.vault_ca_file}.get(kind, ""),
        )
        _BUILDS.labels(kind, self._region, "ok").inc()
        return make(calls, self._settings)

    def _ca_of_pod(self) -> str:
        # Plain HTTP, as through a proxy beside the pod, needs no authority.
        is_plain = self._settings.k8s_api_url.startswith("http://")
        return "" if is_plain else self._settings.k8s_ca_file

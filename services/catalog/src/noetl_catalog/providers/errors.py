"""Reasons for which a provider gives no secret; no message holds a secret."""

from noetl_common.errors import Permanent


class ProviderFailed(Permanent):
    """The provider gave no secret; workers don't ask again."""

    template = "{provider}: {reason}"
    http_status = 500


class ProviderMisconfigured(ProviderFailed):
    """A setting or a reference is missing or makes no sense."""


class ProviderUnreachable(ProviderFailed):
    """The provider gave no secret; workers ask again."""

    http_status = 502

"""Errors of providers that return no secret; no message holds a secret."""

from noetl_common.errors import Permanent


class ProviderFailed(Permanent):
    """The provider returned no secret; workers don't retry."""

    template = "{provider}: {reason}"
    http_status = 500


class ProviderMisconfigured(ProviderFailed):
    """A setting or a reference is missing or invalid."""


class ProviderUnreachable(ProviderFailed):
    """The provider returned no secret; workers retry."""

    http_status = 502

"""Why a secret is not handed out; no message holds one."""

from noetl_common.errors import Permanent

__all__ = [
    "BrokerUnreachable",
    "ProviderFailed",
    "ProviderMisconfigured",
    "ProviderUnreachable",
    "ResidencyViolation",
    "TemplateFailed",
]


class ResidencyViolation(Permanent):
    """The secret may not leave its region."""

    template = (
        "Residency violation: credential '{credential}' is region-locked to '{entry_region}';"
        " this server is in '{server_region}'"
    )
    http_status = 403


class ProviderFailed(Permanent):
    """The provider gave no secret; workers don't ask again."""

    template = "{provider}: {reason}"
    http_status = 500


class ProviderMisconfigured(ProviderFailed):
    """A setting or a reference is missing or makes no sense."""


class ProviderUnreachable(ProviderFailed):
    """The provider gave no secret; workers ask again."""

    http_status = 502


class TemplateFailed(Permanent):
    """A reference of a keychain entry can't be rendered."""

    template = "keychain entry '{entry}', map key '{key}': {reason}"
    http_status = 500


class BrokerUnreachable(Permanent):
    """The region that holds the secret can't be asked."""

    template = "Cross-region broker {url} unreachable: {cause}"
    http_status = 502

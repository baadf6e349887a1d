"""Errors of reads that return no secret; no message holds a secret."""

from noetl_common.errors import Permanent


class ResidencyViolation(Permanent):
    """The secret may not leave its region."""

    template = (
        "Residency violation: credential '{credential}' is region-locked to '{entry_region}';"
        " this server is in '{server_region}'"
    )
    http_status = 403


class UseRefused(Permanent):
    """A credential may not be used by this execution or caller."""

    template = "Credential '{name}' may not be used {where}"
    http_status = 403


class NamesNothing(Permanent):
    """A keychain entry names a credential that isn't stored."""

    template = "keychain entry '{entry}' names the credential '{name}', which isn't stored"
    http_status = 422


class TemplateFailed(Permanent):
    """A reference of a keychain entry can't be rendered."""

    template = "keychain entry '{entry}', map key '{key}': {reason}"
    http_status = 500


class BrokerUnreachable(Permanent):
    """The region that holds the secret can't be reached."""

    template = "Cross-region broker {url} unreachable: {cause}"
    http_status = 502

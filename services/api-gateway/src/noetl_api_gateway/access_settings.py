"""Settings of access to the edge."""

import ipaddress
from collections.abc import Iterator
from typing import Literal, Self
from urllib.parse import urlsplit

from noetl_common.environment.pieces import SettingsPiece
from noetl_contract.access.rights import Role
from pydantic import Field, SecretStr, model_validator

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class AccessSettings(SettingsPiece):
    """Accepted credentials, and the roles that they give."""

    auth: Literal["auto", "on", "off"] = "auto"
    """Whether callers must say who they are; `auto`: unless the port is bound to a loopback
    address."""
    auth_off_reason: str = ""
    """Why `NOETL_AUTH=off` is right on an address that others reach; without it the edge does not
    start there."""
    auth_cache_seconds: float = Field(default=30.0, gt=0, le=60)
    """How long a key, JWT or session is remembered."""
    auth_session_credential: str = ""
    """Credential of the database that knows browser sessions; empty: sessions open nothing."""
    auth_open_metrics: bool = False
    """Serve /metrics without a login where others need one."""
    auth_workers_read_secrets: bool = False
    """Let the roles `worker` and `system` read secrets in clear, not only sealed."""
    trusted_clients: str = ""
    """Addresses that are somebody without a login, as `gateway:10.0.3.0/24`, separated by
    commas."""
    client_certificates: str = ""
    """Client certificates by a name of theirs (SAN), as `worker.example=worker`, separated by
    commas; others are asked of the grants."""
    oidc_issuer: str = ""
    """Issuer of JWTs that are taken; empty: JWTs open nothing."""
    oidc_audience: str = ""
    """Audience that these JWTs must name."""
    oidc_algorithms: str = "RS256,ES256,EdDSA"
    """Signatures that are taken, asymmetric ones only."""
    oidc_jwks_url: str = ""
    """Where the issuer's keys are; empty: where its metadata say."""
    oidc_claims: str = "groups,roles,scope"
    """Claims whose values grants may name, as `groups:ops`."""
    oidc_leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    """How far the issuer's clock may be apart."""
    internal_api_token: SecretStr = SecretStr("")
    """Bearer token of `/api/internal/*`; without one most of these routes are refused. Where a
    login is needed it has the role `system`."""

    @model_validator(mode="after")
    def _has_sound_access(self) -> Self:
        self.trusted_networks()
        self.certificate_roles()
        for name in self.algorithms():
            if name.upper().startswith("HS") or name.lower() == "none":
                raise ValueError(f"NOETL_OIDC_ALGORITHMS: {name} needs no secret of the issuer")
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("NOETL_OIDC_ISSUER needs NOETL_OIDC_AUDIENCE")
        for url in filter(None, (self.oidc_issuer, self.oidc_jwks_url)):
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
                raise ValueError(f"The keys of a login provider need https: {url}")
        return self

    def algorithms(self) -> tuple[str, ...]:
        """Return the accepted algorithms of signatures."""
        return tuple(_words(self.oidc_algorithms))

    def claims(self) -> tuple[str, ...]:
        """Return the names of claims whose values grants may name."""
        return tuple(_words(self.oidc_claims))

    def internal_token(self) -> bytes:
        """Return the internal token; stripped: one mounted from a file ends in a newline (D17)."""
        return self.internal_api_token.get_secret_value().strip().encode()

    def trusted_networks(self) -> list[tuple[Role, Network]]:
        """Return the roles of addresses.

        Raises:
            ValueError: the setting has another form.
        """
        found = []
        for entry in _words(self.trusted_clients):
            role, _, network = entry.partition(":")
            try:
                found.append((Role(role), ipaddress.ip_network(network)))
            except ValueError as error:
                text = f"NOETL_TRUSTED_CLIENTS: `{entry}` is not `role:network`: {error}"
                raise ValueError(text) from error
        return found

    def certificate_roles(self) -> dict[str, Role]:
        """Return the roles of certificates by their names.

        Raises:
            ValueError: the setting has another form.
        """
        found = {}
        for entry in _words(self.client_certificates):
            name, _, role = entry.rpartition("=")
            try:
                found[name] = Role(role)
            except ValueError as error:
                text = f"NOETL_CLIENT_CERTIFICATES: `{entry}` is not `name=role`: {error}"
                raise ValueError(text) from error
        return found


def is_auth_on(settings: AccessSettings, host: str) -> bool:
    """Return whether callers must authenticate, on a port bound to an address.

    Raises:
        ValueError: it is switched off where others reach the port, without a reason.
    """
    is_local = is_loopback(host)
    if settings.auth == "off" and not is_local and not settings.auth_off_reason.strip():
        raise ValueError(
            f"NOETL_AUTH=off on {host}: everybody who reaches this address may do everything. Say "
            "why that is right in NOETL_AUTH_OFF_REASON, or bind the port to 127.0.0.1"
        )
    return settings.auth == "on" or (settings.auth == "auto" and not is_local)


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine only."""
    if host in _LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words(text: str) -> Iterator[str]:
    return filter(None, (part.strip() for part in text.split(",")))

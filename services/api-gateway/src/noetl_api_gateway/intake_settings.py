"""Settings of the port's limits for clients."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from noetl_common.environment.pieces import SettingsPiece
from noetl_service.intake.limits import IntakeLimits
from pydantic import Field, model_validator

from noetl_api_gateway.rates import Rate, parsed_rates

_MEBIBYTE = 1 << 20
# A folder of playbooks is registered one by one.
_RATES = (
    "starts 50/s 500, registrations 5/s 1000, secrets 20/s 200, sql 2/s 20, deliveries 100/s 1000, "
    "failed_logins 5/min 20"
)
_RATE_KINDS = frozenset(
    {"starts", "registrations", "secrets", "sql", "deliveries", "failed_logins"}
)


class IntakeSettings(SettingsPiece):
    """Limits of connections, bodies and streams; names and origins that are ours."""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections open at once."""
    max_connections_per_address: int = Field(default=2000, ge=1)
    """Connections of one address, which may be a proxy's."""
    head_seconds: float = Field(default=10.0, gt=0)
    """How long a request's head, or a handshake of TLS, may take."""
    body_silence_seconds: float = Field(default=30.0, gt=0)
    """Silence within a request's body that ends the request."""
    body_seconds: float = Field(default=300.0, gt=0)
    """How long a request's body may take."""
    unread_seconds: float = Field(default=30.0, gt=0)
    """Time in which a client must read some of what waits for it; else it is left."""
    max_buffered_body_bytes: int = Field(default=256 * _MEBIBYTE, ge=_MEBIBYTE)
    """Bytes of large request bodies held at once, half of it for one address that is not a loopback
    one; bodies up to 64 KiB are always taken."""
    max_delivery_body_bytes: int = Field(default=_MEBIBYTE, ge=1024)
    """Largest body of a delivery to a listener."""
    listener_cache_seconds: float = Field(default=30.0, gt=0, le=300)
    """How long an edge remembers how a listener verifies and dispatches, its secret and its
    state."""
    ingress_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    """Keys of the OIDC tokens that listeners of type `pubsub_oidc` are sent."""
    max_event_streams: int = Field(default=512, ge=1)
    """Event streams served at once."""
    max_event_streams_per_address: int = Field(default=256, ge=1)
    """Of them to one address, which may be a proxy's."""
    max_event_streams_per_principal: int = Field(default=128, ge=1)
    """Of them to one caller who has logged in."""
    rate_limiting: Literal["auto", "on", "off"] = "auto"
    """Whether rates are bounded: `auto`, where callers must log in, so not on a loopback address by
    default. Each process counts for itself. Workers, commands and the system are never bounded."""
    rate_limits: str = _RATES
    """Rates of one caller, of one address where none logs in: kind, how many in a second or minute,
    how many at once. Failed logins are counted by address, deliveries by listener."""
    trusted_proxies: str = ""
    """Addresses or networks of the proxies before this edge, separated by commas. Of what comes
    from there the client's address is the last one in `X-Forwarded-For` that is not in this list,
    and `NOETL_TRUSTED_CLIENTS` does not apply. Nobody else's word is taken."""
    cors_allowed_origins: str = ""
    """Browser origins that may read answers, separated by commas; empty: loopback ones."""
    allowed_hosts: str = ""
    """Names of this server in the header `Host`, separated by commas; `*.example.org` for all
    below, `*` for any. Known without it: addresses, loopback names, the host of
    NOETL_PUBLIC_SERVER_URL, hosts of NOETL_CORS_ALLOWED_ORIGINS, the machine's name,
    `host.docker.internal` and its like; on a port that is not bound to a loopback address also
    names without a dot and those that end in `.svc` or `.svc.cluster.local`."""

    @model_validator(mode="after")
    def _has_sound_rates(self) -> Self:
        self.rates()
        self.proxy_networks()
        return self

    def rates(self) -> Mapping[str, Rate]:
        """Return the rates by kind of work.

        Raises:
            ValueError: one has another form, or is of nothing that is bounded.
        """
        rates = parsed_rates(self.rate_limits)
        unknown = rates.keys() - _RATE_KINDS
        if unknown:
            raise ValueError(f"NOETL_RATE_LIMITS: {', '.join(sorted(unknown))} is not bounded")
        return rates

    def proxy_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Return the addresses of the proxies before this edge.

        Raises:
            ValueError: one is no address or network, or it is all there are.
        """
        found = []
        for entry in words(self.trusted_proxies):
            try:
                network = ipaddress.ip_network(entry)
            except ValueError as error:
                raise ValueError(f"NOETL_TRUSTED_PROXIES: {error}") from error
            if not network.prefixlen:
                raise ValueError(f"NOETL_TRUSTED_PROXIES: `{entry}` is everybody")
            if network.version == 6 and network.network_address.ipv4_mapped is not None:
                raise ValueError(f"NOETL_TRUSTED_PROXIES: write `{entry}` as addresses of IPv4")
            found.append(network)
        return found

    def bounds_rates(self, *, is_login_needed: bool) -> bool:
        """Return whether rates are limited."""
        if self.rate_limiting == "auto":
            return is_login_needed
        return self.rate_limiting == "on"

    def intake_limits(self, connections: int) -> IntakeLimits:
        """Return the limits of the port; the process may have so many connections."""
        return IntakeLimits(
            head_seconds=self.head_seconds,
            body_silence_seconds=self.body_silence_seconds,
            body_seconds=self.body_seconds,
            unread_seconds=self.unread_seconds,
            connections=connections,
            connections_per_address=self.max_connections_per_address,
        )

    def origins(self) -> tuple[str, ...]:
        """Return the configured browser origins."""
        return tuple(origin.rstrip("/") for origin in words(self.cors_allowed_origins))

    def host_names(self) -> tuple[str, ...]:
        """Return the names that an operator has given to this server."""
        origins = (urlsplit(origin).hostname for origin in self.origins())
        return (*words(self.allowed_hosts), *(host for host in origins if host))


def words(text: str) -> Iterator[str]:
    """Return the parts of a text between commas, without those that are empty."""
    return (part.strip() for part in text.split(",") if part.strip())


def is_loopback(host: str) -> bool:
    """Return whether a host, name or address, is a loopback one."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

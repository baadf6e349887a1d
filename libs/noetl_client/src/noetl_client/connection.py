"""The connection to a server: address, key, timeouts and retries."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from noetl_client.errors import BadAddress

URL_VARIABLE = "NOETL_SERVER_URL"
KEY_VARIABLE = "NOETL_SESSION_TOKEN"
CA_VARIABLE = "NOETL_TLS_CA"
CERTIFICATE_VARIABLES = ("NOETL_TLS_CLIENT_CERT", "NOETL_TLS_CLIENT_KEY")
DEFAULT_URL = "http://localhost:8082"
_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Limits of retries.

    A call that the server can't have received, or has rejected with 429, is always retried. A call
    that the server may have executed is retried only if a repetition has no second effect.

    Attributes:
        attempts: maximum number of attempts, including the first; 1 for no retries.
        first_pause: seconds before the first retry and before a lost event stream is opened again;
            the pause doubles with each retry.
        longest_pause: maximum of seconds. If the server asks for a longer pause, there is no retry.
    """

    attempts: int = 4
    first_pause: float = 0.2
    longest_pause: float = 5.0

    def pause(self, made: int, retry_after: float | None) -> float | None:
        """Return the pause after ``made`` attempts, or None to give up."""
        if made >= self.attempts:
            return None
        pause = min(self.first_pause * 2.0 ** (made - 1), self.longest_pause)
        if retry_after is not None and retry_after > pause:
            return retry_after if retry_after <= self.longest_pause else None
        return pause


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of a server, and the parameters of requests.

    Attributes:
        url: address of the gateway, such as `https://noetl.example`.
        key: API key or another bearer token; empty for none.
        ca: file of certificate authorities for the server's certificate; None for the system's.
        certificate: files of a client certificate and its key.
        proxy: address of a proxy. If None, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`
            are used, except for a server on this machine.
        timeout: timeout of an answer in seconds, longer than the gateway's own timeout of a commit.
        connect_timeout: timeout of a connect in seconds.
        silence: seconds without a byte after which an event stream counts as dead.
        patience: seconds for which a lost event stream is reopened before an error is raised.
        retries: limits of retries.
    """

    url: str = DEFAULT_URL
    key: str = field(default="", repr=False)
    ca: str | Path | None = None
    certificate: tuple[str, str] | None = None
    proxy: str | None = None
    timeout: float = 35.0
    connect_timeout: float = 5.0
    silence: float = 45.0
    patience: float = 120.0
    retries: Retries = field(default_factory=Retries)

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            BadAddress: the address is not valid.
        """
        try:
            parts = urlsplit(self.url)
            _ = parts.port, (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise BadAddress(f"{self.url} is not a valid address of a server: {error}") from error
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise BadAddress(
                f"{self.url} is not a valid address of a server: write http://HOST:PORT or https://HOST"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `NOETL_SERVER_URL`, `NOETL_SESSION_TOKEN` and the variables of TLS."""
        named = {name: value.strip() for name, value in environment.items() if value.strip()}
        certificate, key = (named.get(name) for name in CERTIFICATE_VARIABLES)
        return cls(
            named.get(URL_VARIABLE, DEFAULT_URL),
            named.get(KEY_VARIABLE, ""),
            ca=named.get(CA_VARIABLE),
            certificate=(certificate, key) if certificate and key else None,
        )

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, for which no proxy is used."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def tls(self) -> ssl.SSLContext | bool:
        """Return the TLS context that checks the server's certificate.

        Raises:
            BadAddress: a file can't be read.
        """
        if self.is_local and self.proxy is None and self.url.startswith("http://"):
            # A context without authorities trusts no certificate, and loading them takes time.
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None and self.certificate is None:
            return True
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            if self.certificate is not None:
                context.load_cert_chain(*self.certificate)
        except OSError as error:
            raise BadAddress(f"can't read the certificates for {self.url}: {error}") from error
        return context

"""TLS to PostgreSQL: by default, the name of a server on another machine is verified."""

import ipaddress
import ssl
from typing import TYPE_CHECKING, Literal

from noetl_common.errors import Permanent

from noetl_pg.address import SslMode

if TYPE_CHECKING:
    from noetl_pg.settings import PostgresTls

_CHECKED = frozenset({"verify-ca", "verify-full"})


class TlsMisconfigured(Permanent):
    """A file with certificates or keys is unusable, which a retry doesn't fix."""

    template = "TLS to the database: {variable}: {reason}"


def ssl_mode(host: str, chosen: SslMode | None) -> SslMode:
    """Return the chosen mode; by default ``prefer`` on this machine, ``verify-full`` elsewhere."""
    return chosen or ("prefer" if is_loopback(host) else "verify-full")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: a loopback name or address, or a folder of sockets."""
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tls_of(settings: "PostgresTls", host: str) -> ssl.SSLContext | SslMode | Literal[False]:
    """Return the driver's TLS argument for a connection to a host.

    Raises:
        TlsMisconfigured: a file can't be read, or is not a valid certificate.
    """
    mode = ssl_mode(host, settings.postgres_sslmode)
    if mode == "disable":
        return False
    root = settings.postgres_sslrootcert
    if mode not in _CHECKED and not root and not settings.postgres_sslcert:
        return mode
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    if mode not in _CHECKED:
        context.verify_mode = ssl.CERT_NONE
    if root:
        # Only the named authority is trusted, not the machine's list of public authorities.
        context = _with_root(context, root)
    if settings.postgres_sslcert:
        try:
            context.load_cert_chain(settings.postgres_sslcert, settings.postgres_sslkey or None)
        except (OSError, ssl.SSLError) as error:
            raise TlsMisconfigured(variable="POSTGRES_SSLCERT", reason=str(error)) from error
    return context


def _with_root(default: ssl.SSLContext, root: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = default.check_hostname
    context.verify_mode = default.verify_mode
    try:
        context.load_verify_locations(root)
    except (OSError, ssl.SSLError) as error:
        raise TlsMisconfigured(variable="POSTGRES_SSLROOTCERT", reason=str(error)) from error
    return context

"""TLS to the message broker: the service's certificate, and the check of the broker's."""

import ssl

from noetl_common.errors import Permanent


class TlsMisconfigured(Permanent):
    """A file with certificates or keys can't be used; waiting doesn't help."""

    template = "TLS to the message bus (NOETL_NATS_CA, NOETL_NATS_CERT, NOETL_NATS_KEY): {reason}"


def broker_tls(*, ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Return the TLS context for the broker.

    Args:
        ca: file with the authorities that it may be signed by; empty for those of the machine.
        cert: file with the certificate that we show; empty for none.
        key: file with its key, where the certificate's doesn't hold it.

    Raises:
        TlsMisconfigured: a file can't be used.
    """
    try:
        if ca:
            # Only the named authority: the machine's own list is for hosts of the internet.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(ca)
        else:
            context = ssl.create_default_context()
        if cert:
            context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsMisconfigured(reason=str(error)) from error
    return context

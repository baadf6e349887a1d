"""`python -m noetl_service.healthcheck`: the readiness check of this container's service.

The program requests ``/readyz`` at the configured address of the service. It exits with 0 if the
status is 200. Otherwise it prints the response, which the container engine records, and exits
with 1. The engine starts it every few seconds, so it imports no more than a socket needs.
"""

import os
import socket
import sys
from collections.abc import Mapping

TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 4096
# Addresses at which a service answers that listens on all interfaces.
_LOCAL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound


def answer(environment: Mapping[str, str], *, timeout: float = TIMEOUT_SECONDS) -> str:
    """Return the first bytes of the service's response.

    Raises:
        OSError: the service doesn't respond in time.
        ValueError: the port is not a number.
    """
    host = environment.get("NOETL_HTTP_HOST", "127.0.0.1")
    address = (_LOCAL.get(host, host), int(environment.get("NOETL_HTTP_PORT") or "8082"))
    with socket.create_connection(address, timeout=timeout) as plain:
        connection = plain
        if environment.get("NOETL_TLS_CERT") and environment.get("NOETL_TLS_KEY"):
            import ssl  # noqa: PLC0415 -- few services have a certificate

            # The certificate has another name than this address, and the request holds no secret.
            context = ssl._create_unverified_context()  # noqa: S323, SLF001 -- see above
            connection = context.wrap_socket(plain)
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while len(got) < _MOST_BYTES and (more := connection.recv(_MOST_BYTES)):
            got += more
    return got.decode("utf-8", "replace")


def main() -> int:
    """Print the reason if the service isn't ready; return the exit code."""
    try:
        got = answer(os.environ)
    except (OSError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
    head, _, body = got.partition("\r\n\r\n")
    if head.split(" ")[1:2] == ["200"]:
        return 0
    sys.stdout.write(f"{head.splitlines()[0] if head else 'no answer'} {body}".strip() + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

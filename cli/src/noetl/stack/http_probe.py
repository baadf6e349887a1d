"""One GET on this machine, without pulling an HTTP library into the supervisor."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress


def probe_context(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return how to probe an edge that has a certificate; None where it has none.

    Whose it is doesn't matter: the process is ours, on this machine.
    """
    if not (environment.get("NOETL_TLS_CERT") and environment.get("NOETL_TLS_KEY")):
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    certificate, key = (environment.get(f"NOETL_TLS_CLIENT_{part}") for part in ("CERT", "KEY"))
    if certificate and key:
        with suppress(OSError):
            context.load_cert_chain(certificate, key)
    return context


async def status_of(
    port: int,
    path: str,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    timeout_seconds: float = 2.0,
) -> int | None:
    """Return the status code of the answer; None without an HTTP answer in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                line = await reader.readline()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return None
    return int(words[1])

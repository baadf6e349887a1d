"""One GET on this machine, without pulling an HTTP library into the supervisor."""

import asyncio
from contextlib import suppress


async def status_of(
    port: int, path: str, *, host: str = "127.0.0.1", timeout_seconds: float = 2.0
) -> int | None:
    """Return the status code of the answer; None without an HTTP answer in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port)
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

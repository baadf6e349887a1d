"""A lean HTTP client: the machine's time belongs to the system."""

import asyncio
import json
import re
import time

from noetl_contract.json import JsonObject

# The edge closes connections that rest.
_KEPT_SECONDS = 2.0
_LENGTH = re.compile(r"content-length: (\d+)")


class LeanHttp:
    """Posts JSON over kept connections to a port of this machine."""

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._login = f"authorization: Bearer {key}\r\n" if key else ""
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def post(self, path: str, body: object) -> JsonObject:
        """Post JSON until the answer is not 503, and return the answer.

        Raises:
            RuntimeError: another status than 200.
        """
        while True:
            status, answer = await self._once(path, json.dumps(body).encode())
            if status == 200:
                return dict(json.loads(answer))
            if status != 503:
                raise RuntimeError(f"{path}: {status} {answer[:500]!r}")
            await asyncio.sleep(0.2)

    async def status(self, path: str, body: object) -> int:
        """Post JSON once and return the status of the answer."""
        status, _answer = await self._once(path, json.dumps(body).encode())
        return status

    def close(self) -> None:
        """Close the kept connections."""
        for _reader, writer, _at in self._free:
            writer.close()
        self._free.clear()

    async def _once(self, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer, used_at = self._free.pop() if self._free else (None, None, 0.0)
        if reader is None or writer is None or time.monotonic() - used_at > _KEPT_SECONDS:
            if writer is not None:
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"{self._login}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = _LENGTH.search(head)
        answer = await reader.readexactly(int(length[1])) if length else b""
        self._free.append((reader, writer, time.monotonic()))
        return int(head.split(" ", 2)[1]), answer

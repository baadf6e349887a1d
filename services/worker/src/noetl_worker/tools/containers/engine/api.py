"""Calls to a Docker or Podman engine: plain HTTP, over its socket or a port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import orjson
from noetl_contract.json import Json, JsonObject

from noetl_worker import metrics
from noetl_worker.tools.containers.backend import BackendError

_SECONDS = 60.0
_LONGEST_MESSAGE = 500
_LONGEST_LINE = 1 << 20
_UNIX = "unix://"
_FRAME_HEAD = 8


class EngineApi:
    """An engine's API, without a version in the paths: each answers in its own newest.

    All methods raise `BackendError`: no answer came, or a refusal with its status.
    """

    def __init__(self, url: str) -> None:
        is_socket = url.startswith(_UNIX)
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix(_UNIX)) if is_socket else None
        self._url = url
        self._client = httpx.AsyncClient(
            transport=transport,
            base_url="http://engine" if is_socket else url,
            timeout=_SECONDS,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> Json:
        """Call, and return the decoded answer; null if there is none."""
        content = None if body is None else orjson.dumps(body)
        async with self._open(operation, method, path, params=params, content=content) as answer:
            data = await answer.aread()
        try:
            return orjson.loads(data) if data else None
        except orjson.JSONDecodeError as error:
            raise BackendError(f"the engine's answer to {operation} is no JSON") from error

    @asynccontextmanager
    async def lines(
        self, operation: str, method: str, path: str, *, params: Mapping[str, str], seconds: float
    ) -> AsyncIterator[AsyncIterator[JsonObject]]:
        """Open an answer of JSON objects that come one by one.

        Args:
            operation: what is counted.
            method: method of the call.
            path: path of the call.
            params: its query.
            seconds: longest silence; 0: for ever.
        """
        async with self._open(
            operation, method, path, params=params, seconds=seconds or None
        ) as answer:
            yield self._objects(answer)

    async def tail(self, name: str, *, most: int, lines: int) -> tuple[str, bool]:
        """Return the end of a container's output, and whether there was more."""
        params = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        kept, is_cut = bytearray(), False
        path = f"/containers/{quote(name)}/logs"
        async with self._open("logs", "GET", path, params=params) as answer:
            try:
                async for piece in _frames(answer):
                    kept += piece
                    if len(kept) > 2 * most:
                        del kept[:-most]
                        is_cut = True
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
        is_cut = is_cut or len(kept) > most
        return bytes(kept[-most:] if most else b"").decode("utf-8", "replace"), is_cut

    @asynccontextmanager
    async def _open(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        seconds: float | None = _SECONDS,
    ) -> AsyncIterator[httpx.Response]:
        metrics.CONTAINER_CALLS.labels(operation).inc()
        headers = {"content-type": "application/json"} if content is not None else {}
        request = self._client.build_request(
            method,
            path,
            params=params,
            content=content,
            headers=headers,
            timeout=httpx.Timeout(_SECONDS, read=seconds),
        )
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        try:
            if answer.status_code >= 400:
                raise BackendError(await _refusal(answer), status=answer.status_code)
            yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            await answer.aclose()

    async def _objects(self, answer: httpx.Response) -> AsyncIterator[JsonObject]:
        left = b""
        async for piece in answer.aiter_bytes():
            *whole, left = (left + piece).split(b"\n")
            if len(left) > _LONGEST_LINE:
                raise BackendError("the engine sends a line without an end")
            for line in filter(None, map(bytes.strip, whole)):
                yield _decoded(line)
        if left.strip():
            yield _decoded(left)

    def _unreachable(self, error: Exception) -> BackendError:
        text = str(error) or type(error).__name__
        return BackendError(f"the engine at {self._url} can't be reached: {text}")


def _decoded(line: bytes) -> JsonObject:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BackendError("the engine sends something else than JSON") from error
    return value if isinstance(value, dict) else {}


async def _refusal(answer: httpx.Response) -> str:
    data = (await answer.aread())[: 4 * _LONGEST_MESSAGE]
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = None
    text = body.get("message") if isinstance(body, dict) else None
    shown = text if isinstance(text, str) else data.decode("utf-8", "replace")
    return shown.strip()[:_LONGEST_MESSAGE] or f"status {answer.status_code}"


async def _frames(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the output, without the heads that separate stdout from stderr."""
    left = bytearray()
    wanted = 0
    async for piece in answer.aiter_bytes():
        left += piece
        while left:
            if wanted:
                part = bytes(left[:wanted])
                del left[:wanted]
                wanted -= len(part)
                yield part
            elif len(left) >= _FRAME_HEAD:
                wanted = int.from_bytes(left[4:_FRAME_HEAD])
                del left[:_FRAME_HEAD]
            else:
                break

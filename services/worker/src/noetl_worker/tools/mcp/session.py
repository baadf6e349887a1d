"""One session with an MCP server: JSON-RPC out, JSON or an event stream in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import orjson
from noetl_contract.json import Json, JsonObject

from noetl_worker.bounded_http import AnswerTooLarge, fetch

_ACCEPT = "application/json, text/event-stream"
_END_SECONDS = 2.0
_LONGEST_ERROR = 500


class McpFailure(Exception):
    """The server was unreachable or refused; the text names the level of the error."""


class McpSession:
    """A session: its id and the number of the next request."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: str,
        *,
        next_id: int,
        most: int,
        seconds: float,
    ) -> None:
        self._client = client
        # A tool may think for longer than the client waits by itself.
        self._seconds = seconds
        self._endpoint = endpoint
        self._next_id = next_id
        self._most = most
        self._headers = {
            "accept": _ACCEPT,
            # Unpacked it could be larger than anything we count.
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        self._has_begun = False

    async def begin(self, hello: JsonObject) -> Json:
        """Initialize the session; return the server's description of itself.

        Raises:
            McpFailure: it can't be reached or refuses.
        """
        result = await self.request("initialize", hello)
        self._has_begun = True
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if isinstance(version, str):
            self._headers["mcp-protocol-version"] = version
        # The protocol asks for it; servers may refuse to work before it came.
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, wanted=None)
        return result

    async def request(self, method: str, params: Json) -> Json:
        """Call a method and return its result.

        Raises:
            McpFailure: there is no answer, or it is an error.
        """
        number = self._next_id
        self._next_id += 1
        body = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            body["params"] = params
        reply = await self._post(body, wanted=number)
        if reply is None:
            raise McpFailure("MCP envelope parse error: there is no answer to the request")
        error = reply.get("error")
        if error is not None:
            raise McpFailure(f"MCP JSON-RPC error: {orjson.dumps(error).decode()}")
        if "result" not in reply:
            raise McpFailure("MCP envelope parse error: the answer has no result")
        return reply["result"]

    async def read(self, url: str) -> str:
        """Return the body behind a plain URL.

        Raises:
            McpFailure: it can't be had.
        """
        try:
            request = self._client.build_request("GET", url, timeout=self._seconds)
            response, data = await fetch(self._client, request, most=self._most)
        except (httpx.HTTPError, httpx.InvalidURL, AnswerTooLarge) as error:
            raise _unreachable(error) from error
        text = data.decode("utf-8", "replace")
        if not response.is_success:
            raise _refused(response, text)
        return text

    async def end(self) -> None:
        """End the session at the server, which may ignore that."""
        if not self._has_begun or "mcp-session-id" not in self._headers:
            return
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                request = self._client.build_request(
                    "DELETE", self._endpoint, headers=self._headers, timeout=_END_SECONDS
                )
                response = await self._client.send(request, stream=True)
                await response.aclose()

    async def _post(self, body: JsonObject, *, wanted: int | None) -> JsonObject | None:
        """Send a message; return the answer to the request of that number, if there is one."""
        try:
            request = self._client.build_request(
                "POST",
                self._endpoint,
                content=orjson.dumps(body),
                headers=self._headers,
                timeout=self._seconds,
            )
            response = await self._client.send(request, stream=True)
            try:
                return await self._answer(response, wanted)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TypeError) as error:
            raise _unreachable(error) from error

    async def _answer(self, response: httpx.Response, wanted: int | None) -> JsonObject | None:
        session = response.headers.get("mcp-session-id")
        if session:
            self._headers["mcp-session-id"] = session
        if not response.is_success:
            text = (await self._whole(response))[: 4 * _LONGEST_ERROR].decode("utf-8", "replace")
            raise _refused(response, text)
        if wanted is None:
            return None
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            return await self._from_stream(response, wanted)
        try:
            reply = orjson.loads(await self._whole(response))
        except orjson.JSONDecodeError as error:
            raise McpFailure(f"MCP envelope parse error: {error}") from error
        for one in reply if isinstance(reply, list) else [reply]:
            if _answers(one, wanted):
                found: JsonObject = one
                return found
        return None

    async def _from_stream(self, response: httpx.Response, wanted: int) -> JsonObject | None:
        """Read events until the answer is there; requests of the server are passed over."""
        data: list[str] = []
        async for line in self._lines(response):
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
                continue
            if line or not data:
                continue
            text, data = "\n".join(data), []
            if not text.strip():
                continue
            try:
                message = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise McpFailure(f"MCP envelope parse error: {error}") from error
            if _answers(message, wanted):
                found: JsonObject = message
                return found
        return None

    async def _lines(self, response: httpx.Response) -> AsyncIterator[str]:
        """Yield the complete lines of a stream; an unfinished last line is dropped."""
        rest: list[bytes] = []
        async for part in self._parts(response):
            first, *others = part.split(b"\n")
            # Joined once: a line may be as long as an answer.
            rest.append(first)
            for other in others:
                yield b"".join(rest).removesuffix(b"\r").decode("utf-8", "replace")
                rest = [other]

    async def _whole(self, response: httpx.Response) -> bytes:
        return b"".join([part async for part in self._parts(response)])

    async def _parts(self, response: httpx.Response) -> AsyncIterator[bytes]:
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise McpFailure("MCP HTTP error: the answer is packed, which was not asked for")
        room = self._most
        async for part in response.aiter_raw(64 << 10):
            room -= len(part)
            if room < 0:
                raise McpFailure(f"MCP HTTP error: the answer has more than {self._most} bytes")
            yield part


def _answers(message: Json, wanted: int) -> bool:
    return isinstance(message, dict) and message.get("id") == wanted and "method" not in message


def _unreachable(error: Exception) -> McpFailure:
    return McpFailure(f"MCP HTTP error: {str(error) or type(error).__name__}")


def _refused(response: httpx.Response, text: str) -> McpFailure:
    return McpFailure(f"MCP HTTP error: HTTP {response.status_code}: {text[:_LONGEST_ERROR]}")

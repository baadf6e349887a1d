"""Passing a request on to the existing server, and its answer back as it comes.

Nothing is sent twice: whether a request was taken is known to that server alone. Only a
connection that was never made is certain, and it is answered with 502.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from time import perf_counter
from urllib.parse import urlsplit

import httpx
from noetl_api_gateway.http.bodies import ClientGoneError
from noetl_api_gateway.http.refusals import Refusal, body_too_large, unavailable
from noetl_api_gateway.http.shell import Header, Receive, Scope, Send
from noetl_api_gateway.intake.peers import peer_of
from noetl_common.logging import get_logger
from noetl_common.metrics import counter, histogram
from noetl_common.telemetry.carrier import carried_headers

from noetl_migrate.front.settings import LegacySettings

HOP = b"noetl-legacy-hop"
"""Marks requests that an edge has passed on, so that two edges can't send them to and fro."""

REQUESTS = counter(
    "noetl_legacy_requests_total",
    "Requests passed on to the existing server, by why and how that went",
    ["why", "outcome"],
    zeros=[
        (why, outcome)
        for why in ("route", "execution", "command")
        for outcome in ("answered", "unreachable", "silent", "broken", "refused")
    ],
)
DURATION = histogram(
    "noetl_legacy_request_duration_seconds",
    "Time from a request to the beginning of the existing server's answer",
)

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS = frozenset({b"host", b"expect", b"traceparent", b"tracestate", b"x-forwarded-for", HOP})
_ANSWERED_BY = (b"noetl-answered-by", b"legacy")
_DEFECTIVE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)

_log = get_logger()


class LegacyServer:
    """The existing server.

    Args:
        url: its address.
        settings: its timeouts.
        most_bytes: largest body of a request.
    """

    def __init__(self, url: str, settings: LegacySettings, *, most_bytes: int) -> None:
        place = urlsplit(url)
        self.name = f"{place.scheme}://{place.netloc}"
        self._answer_seconds = settings.legacy_answer_seconds
        self._most_bytes = most_bytes
        silence = settings.legacy_silence_seconds
        self._client = httpx.AsyncClient(
            base_url=self.name,
            timeout=httpx.Timeout(silence, connect=settings.legacy_connect_seconds, pool=5.0),
            limits=httpx.Limits(
                max_connections=settings.legacy_connections,
                # Shorter than servers keep theirs: a request must not meet a closing one.
                keepalive_expiry=2.0,
            ),
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, *, why: str) -> None:
        """Answer a request with the existing server's answer.

        Raises:
            Refusal: 502, 503 or 504, there is none; nothing was sent to the client.
            ConnectionError: it broke off in the middle.
        """
        started = perf_counter()
        body = _Body(scope, receive, self._most_bytes)
        try:
            answer = await self._sent(scope, body)
        except Refusal as refusal:
            REQUESTS.labels(why, _OUTCOMES.get(refusal.status, "unreachable")).inc()
            raise
        DURATION.observe(perf_counter() - started)
        try:
            await self._returned(answer, body, send)
        except httpx.HTTPError as error:
            REQUESTS.labels(why, "broken").inc()
            _log.warning("legacy_answer_broken", server=self.name, error=type(error).__name__)
            raise ConnectionError(f"the legacy server {self.name} broke off its answer") from error
        finally:
            await answer.aclose()
        REQUESTS.labels(why, "answered").inc()

    async def knows_execution(self, number: int) -> bool:
        """Return whether the server has an execution.

        Raises:
            Refusal: 502 or 504, it gives no answer.
        """
        path = f"/api/executions/{number}/status"
        request = self._client.build_request("GET", path, headers={HOP.decode(): "1"})
        answer = await self._head(request)
        await answer.aclose()
        if answer.status_code >= 500:
            raise Refusal(502, f"The legacy server {self.name} answers {answer.status_code}")
        return answer.status_code == 200

    async def _sent(self, scope: Scope, body: "_Body") -> httpx.Response:
        request = self._client.build_request(
            scope["method"],
            httpx.URL(self.name).copy_with(raw_path=_target(scope)),
            headers=[*_passed(scope), *_added(scope)],
            content=body.pieces() if body.is_there else None,
        )
        return await self._head(request)

    async def _head(self, request: httpx.Request) -> httpx.Response:
        """Return the beginning of the answer to a request.

        Raises:
            Refusal: there is none.
        """
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._client.send(request, stream=True)
        except httpx.PoolTimeout as error:
            raise unavailable(
                f"Too many requests wait for the legacy server {self.name}"
            ) from error
        except httpx.ConnectTimeout as error:
            raise Refusal(504, f"The legacy server {self.name} takes no connection") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            text = f"The legacy server {self.name} did not answer in time"
            raise Refusal(504, text) from error
        except httpx.ConnectError as error:
            raise Refusal(502, f"The legacy server {self.name} can't be reached") from error
        except _DEFECTIVE as error:
            text = f"The legacy server {self.name} ended the connection without an answer"
            raise Refusal(502, text) from error

    async def _returned(self, answer: httpx.Response, body: "_Body", send: Send) -> None:
        headers = [*_kept(answer.headers.raw), _ANSWERED_BY]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        await send(start)
        pumping = asyncio.ensure_future(_pump(answer, send))
        leaving = asyncio.ensure_future(body.until_gone())
        try:
            await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not pumping.done():
                pumping.cancel()
            await asyncio.wait({pumping, leaving})
        if not pumping.cancelled():
            pumping.result()


_OUTCOMES: Mapping[int, str] = {502: "unreachable", 504: "silent"}


class _Body:
    """The body of a request, and the moment when its client leaves."""

    def __init__(self, scope: Scope, receive: Receive, most_bytes: int) -> None:
        names = dict(scope["headers"])
        self.is_there = b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"
        self._receive = receive
        self._most_bytes = most_bytes
        self._is_read = not self.is_there

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the body as it comes.

        Raises:
            Refusal: 413, it is too large.
            ClientGoneError: the client left before it was complete.
        """
        size = 0
        while not self._is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._most_bytes:
                raise body_too_large()
            self._is_read = not message.get("more_body", False)
            if piece:
                yield piece

    async def until_gone(self) -> None:
        """Wait until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _pump(answer: httpx.Response, send: Send) -> None:
    async for piece in answer.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _target(scope: Scope) -> bytes:
    """Return path and query as they were sent, without the prefix `/noetl`."""
    raw: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    if raw.startswith(b"/noetl/"):
        raw = b"/api/" + raw.removeprefix(b"/noetl/")
    query: bytes = scope["query_string"]
    return raw + (b"?" + query if query else b"")


def _kept(headers: Iterable[Header]) -> list[Header]:
    """Return headers without those of one connection."""
    listed = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower()
        for name, value in listed
        if name == b"connection"
        for word in value.split(b",")
    }
    return [one for one in listed if one[0] not in _HOP_BY_HOP and one[0] not in named]


def _passed(scope: Scope) -> list[Header]:
    return [one for one in _kept(scope["headers"]) if one[0] not in _OURS]


def _added(scope: Scope) -> list[Header]:
    """Return headers with the sender's address, and with the trace that goes on."""
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    chain = b", ".join([*forwarded, peer_of(scope).encode()])
    trace = [(name.encode(), value.encode()) for name, value in carried_headers().items()]
    return [(HOP, b"1"), (b"x-forwarded-for", chain), *trace]

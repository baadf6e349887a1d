"""The few calls of the HTTP API that following an execution needs."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from noetl_contract.json import Json, JsonObject

from noetl.follow.servers import refusal
from noetl.stack.errors import StackError

TERMINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
RECONNECT_SECONDS = 0.3
RECONNECT_PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.25
# Longer than the edge's own patience with a commit.
CALL_SECONDS = 35.0
# The stream says something at least every 15 s.
SILENCE_SECONDS = 45.0


class RefusedError(StackError):
    """The edge answered no; the text is its reason."""


@dataclass(frozen=True)
class Registered:
    """A playbook's place in the catalog."""

    path: str
    version: int


class Edge:
    """A client of one edge; to be closed."""

    def __init__(
        self, url: str, *, token: str = "", patience_seconds: float = RECONNECT_PATIENCE_SECONDS
    ) -> None:
        self._patience_seconds = patience_seconds
        self._heard_at = 0.0
        try:
            _ = urlsplit(url).port, httpx.URL(url)
        except (ValueError, httpx.InvalidURL) as error:
            raise StackError(f"{url} is no address of a server: {error}") from error
        self.url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(CALL_SECONDS, connect=5.0),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def register(self, text: str) -> Registered:
        """Register a playbook.

        Raises:
            RefusedError: it is not a valid playbook.
        """
        content = base64.b64encode(text.encode()).decode()
        body = await self._post(
            "/api/catalog/register", {"content": content, "resource_type": "Playbook"}
        )
        try:
            return Registered(str(body["path"]), int(body["version"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._no_edge() from error

    async def execute(self, playbook: Registered, workload: JsonObject) -> str:
        """Start a playbook and return the id of the execution."""
        body = await self._post(
            "/api/execute",
            {
                "path": playbook.path,
                "version": playbook.version,
                "workload": workload,
                "resource_kind": "playbook",
            },
        )
        if "execution_id" not in body:
            raise self._no_edge()
        return str(body["execution_id"])

    async def cancel(self, execution_id: str, reason: str) -> None:
        """Asks for the execution's cancellation; one that has ended already is fine."""
        try:
            await self._post(
                f"/api/executions/{execution_id}/cancel", {"reason": reason, "cascade": True}
            )
        except RefusedError:
            if (await self.status(execution_id)) not in TERMINAL_STATUSES:
                raise

    async def signal(self, execution_id: str, name: str, body: JsonObject) -> None:
        """Send a signal.

        Raises:
            RefusedError: nothing waits for it, or the payload doesn't fit.
        """
        await self._post(f"/api/executions/{execution_id}/signals/{name}", body)

    async def status(self, execution_id: str) -> str:
        """Return the status of the execution."""
        answer = await self._send("GET", f"/api/executions/{execution_id}/status")
        return str(answer.json().get("status"))

    async def standing(self, execution_id: str) -> JsonObject:
        """Return how the execution stands, as the status route tells it."""
        body: Json = (await self._send("GET", f"/api/executions/{execution_id}/status")).json()
        return body if isinstance(body, dict) else {}

    async def why(self, execution_id: str) -> Json:
        """Return what an execution waits for, as the server tells it."""
        answer = await self._send("GET", f"/api/executions/{execution_id}/why")
        try:
            return answer.json()
        except ValueError as error:
            raise self._no_edge() from error

    async def events(self, execution_id: str) -> AsyncIterator[JsonObject]:
        """Yield the events of the execution in log order, each once, until it has ended.

        Survives restarts of the edge: the stream is resumed after the last event seen. Where there
        is no stream, the detail route is polled.

        Raises:
            StackError: the edge stayed away for longer than our patience.
        """
        last: str | None = None
        seen: set[str] = set()
        self._heard_at = time.monotonic()
        while True:
            try:
                async for name, event_id, data in self._stream(execution_id, last):
                    if name == "end":
                        return
                    last = event_id or last
                    key = str(data.get("event_id"))
                    if key not in seen:
                        seen.add(key)
                        yield data
            except _NoStreamError:
                async for data in self._poll(execution_id):
                    if str(data.get("event_id")) not in seen:
                        seen.add(str(data.get("event_id")))
                        yield data
                return
            except httpx.TransportError:
                # The edge is being restarted: go on where we were, if it comes back.
                if time.monotonic() - self._heard_at > self._patience_seconds:
                    raise StackError(
                        f"lost the server for {self._patience_seconds:.0f} s; execution "
                        f"{execution_id} goes on without us"
                    ) from None
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _stream(
        self, execution_id: str, last: str | None
    ) -> AsyncIterator[tuple[str, str | None, JsonObject]]:
        headers = {"Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = last
        async with self._client.stream(
            "GET",
            f"/api/executions/{execution_id}/events/stream",
            headers=headers,
            timeout=httpx.Timeout(CALL_SECONDS, read=SILENCE_SECONDS),
        ) as answer:
            if answer.status_code in {404, 405, 501}:
                raise _NoStreamError
            if answer.status_code in {401, 403}:
                await answer.aread()
                raise RefusedError(_reason(answer))
            if answer.status_code != httpx.codes.OK:
                raise httpx.TransportError(f"the stream was answered with {answer.status_code}")
            name, event_id, data = "message", None, ""
            async for line in answer.aiter_lines():
                self._heard_at = time.monotonic()
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match field:
                    case "event":
                        name = value
                    case "id":
                        event_id = value
                    case "data":
                        data += value
                    case "" if not line and data:
                        yield name, event_id, json.loads(data)
                        name, event_id, data = "message", None, ""

    async def _poll(self, execution_id: str) -> AsyncIterator[JsonObject]:
        while True:
            answer = await self._send("GET", f"/api/executions/{execution_id}")
            body = answer.json()
            for data in body.get("events") or []:
                yield data
            if body.get("status") in TERMINAL_STATUSES:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _post(self, path: str, body: JsonObject) -> JsonObject:
        answer = await self._send("POST", path, body)
        try:
            value: Json = answer.json()
        except ValueError as error:
            raise self._no_edge() from error
        return value if isinstance(value, dict) else {}

    def _no_edge(self) -> StackError:
        return StackError(f"{self._client.base_url} doesn't answer as a NoETL server does")

    async def _send(self, method: str, path: str, body: JsonObject | None = None) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise StackError(
                f"no answer from {self._client.base_url}: {error or type(error).__name__}"
            ) from error
        if answer.is_success:
            return answer
        raise RefusedError(_reason(answer))


class _NoStreamError(Exception):
    """This server has no event stream for that execution."""


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.status_code} {answer.text[:500]}"
    reason = body.get("error") or body.get("detail") if isinstance(body, dict) else None
    return refusal(answer.status_code, str(reason or f"{answer.status_code} {answer.text[:500]}"))

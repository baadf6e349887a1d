"""The few calls of the HTTP API that following an execution needs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

from noetl_client import AsyncClient, Busy, ClientError, Refused, Unreachable
from noetl_contract.json import Json, JsonObject

from noetl.follow.servers import RefusedError, connection_of, told
from noetl.stack.errors import StackError

TERMINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
RECONNECT_TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.25
_NO_STREAM = frozenset({404, 405, 501})


@dataclass(frozen=True)
class Registered:
    """A playbook's place in the catalog."""

    path: str
    version: int


class Edge:
    """A client of one edge; to be closed.

    Raises:
        StackError: the address is none.
    """

    def __init__(
        self, url: str, *, token: str = "", patience_seconds: float = RECONNECT_TIMEOUT_SECONDS
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_seconds = patience_seconds
        with _as_stack_errors():
            connection = replace(connection_of(self.url, token), patience=patience_seconds)
            self._client = AsyncClient(connection)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def register(self, text: str) -> Registered:
        """Register a playbook.

        Raises:
            RefusedError: it is not a valid playbook.
        """
        with _as_stack_errors():
            kept = await self._client.catalog.register(text)
        return Registered(kept.path, kept.version)

    async def execute(self, playbook: Registered, workload: JsonObject) -> str:
        """Start a playbook and return the id of the execution."""
        with _as_stack_errors():
            started = await self._client.start(playbook.path, workload, version=playbook.version)
        return started.execution_id

    async def cancel(self, execution_id: str, reason: str) -> None:
        """Cancel the execution; one that has ended already is fine."""
        try:
            with _as_stack_errors():
                await self._client.cancel(execution_id, reason, cascade=True)
        except RefusedError:
            if (await self.status(execution_id)) not in TERMINAL_STATUSES:
                raise

    async def signal(self, execution_id: str, name: str, body: JsonObject) -> None:
        """Send a signal: its `id`, its `payload`, and the `wait_id` that is meant.

        Raises:
            RefusedError: nothing waits for it, or the payload doesn't fit.
        """
        with _as_stack_errors():
            await self._client.signal(
                execution_id,
                name,
                body.get("payload"),
                wait_id=body.get("wait_id"),
                signal_id=body.get("id"),
            )

    async def status(self, execution_id: str) -> str:
        """Return the status of the execution."""
        return str((await self.standing(execution_id)).get("status"))

    async def standing(self, execution_id: str) -> JsonObject:
        """Return the answer of the execution's status route."""
        body = await self._ask(f"/api/executions/{execution_id}/status")
        return body if isinstance(body, dict) else {}

    async def why(self, execution_id: str) -> Json:
        """Return the server's answer about what an execution waits for."""
        return await self._ask(f"/api/executions/{execution_id}/why")

    async def events(self, execution_id: str) -> AsyncIterator[JsonObject]:
        """Yield the events of the execution in log order, each once, until it has ended.

        Survives restarts of the edge: the stream is resumed after the last event seen. Where there
        is no stream, the detail route is polled.

        Raises:
            StackError: the edge stayed away for longer than the timeout.
        """
        try:
            async with aclosing(self._client.stream(execution_id)) as stream:
                async for event in stream:
                    yield event.model_dump(mode="json", exclude_unset=True)
        except (Unreachable, Busy):
            raise StackError(
                f"lost the server for {self._timeout_seconds:.0f} s; execution "
                f"{execution_id} goes on without us"
            ) from None
        except Refused as error:
            if error.status not in _NO_STREAM:
                raise told(error) from error
            async for polled in self._polled(execution_id):
                yield polled
        except ClientError as error:
            raise told(error) from error

    async def _polled(self, execution_id: str) -> AsyncIterator[JsonObject]:
        """Yield the events of a server without event streams."""
        seen: set[str] = set()
        while True:
            body = await self._ask(f"/api/executions/{execution_id}")
            for event in body.get("events") or []:
                key = str(event.get("event_id"))
                if key not in seen:
                    seen.add(key)
                    yield event
            if body.get("status") in TERMINAL_STATUSES:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, path: str) -> Json:
        with _as_stack_errors():
            return await self._client.ask("GET", path)


@contextmanager
def _as_stack_errors() -> Iterator[None]:
    """Turn errors of calls into those that a terminal shows."""
    try:
        yield
    except ClientError as error:
        raise told(error) from error

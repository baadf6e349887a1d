"""Keys, objects and streams of a NATS server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from noetl_common.egress import Egress
from noetl_contract.json import JsonObject

from noetl_worker.tools.fields import Fields
from noetl_worker.tools.nats.batch import MANY_OPERATIONS
from noetl_worker.tools.nats.buckets import BUCKET_OPERATIONS
from noetl_worker.tools.nats.call import Call, Operation
from noetl_worker.tools.nats.streams import STREAM_OPERATIONS
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

_OPERATIONS: dict[str, Operation] = BUCKET_OPERATIONS | STREAM_OPERATIONS | MANY_OPERATIONS
_CLOSE_SECONDS = 2.0
_PORT = 4222


class Nats:
    """The nats tool. A connection per call: playbooks bring their own servers and users."""

    def __init__(self, *, seconds: float, most: int, egress: Egress | None = None) -> None:
        self._seconds = seconds
        self._egress = egress or Egress()
        self._most = most

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Do one operation."""
        started = perf_counter()
        fields = Fields(context.render(config), kind="nats")
        name = fields.text("operation")
        operation = _OPERATIONS.get(name)
        if operation is None:
            valid = ", ".join(_OPERATIONS)
            raise ToolError(
                "Configuration error", f"Unknown NATS operation '{name}'. Valid: {valid}"
            )
        async with AsyncExitStack() as stack:

            async def connect() -> JetStreamContext:
                client = await stack.enter_async_context(
                    _connected(fields, context, seconds=self._seconds, egress=self._egress)
                )
                now = asyncio.get_running_loop().time()
                limit.reschedule(now + self._seconds + call.waits)
                return client.jetstream(timeout=self._seconds)

            call = Call(fields, name, self._most, connect, variables=context.variables)
            try:
                async with asyncio.timeout(None) as limit:
                    data = await operation(call)
            except (TimeoutError, NatsError) as error:
                raise _failed(name, error) from error
        duration_ms = int((perf_counter() - started) * 1000)
        return ToolResult(data={"status": "success", **data}, duration_ms=duration_ms)


@asynccontextmanager
async def _connected(
    fields: Fields, context: ToolContext, *, seconds: float, egress: Egress
) -> AsyncIterator[Client]:
    """Connect as the configuration says, once."""
    url = fields.optional_text("url")
    if not url:
        raise ToolError(
            "Configuration error",
            "NATS connection requires 'url' or an 'auth' credential alias with a 'url' field",
        )
    login = _login(fields, context)
    last: list[Exception] = []

    async def keep(error: Exception) -> None:
        last[:] = [error]

    def not_connected(error: Exception) -> ToolError:
        reason = str(last[-1] if last else error) or type(error).__name__
        return ToolError(
            "Execution failed",
            f"NATS connect to '{_without_login(url)}' failed: {reason}",
            failure=Failure(kind="connection", retryable=True),
        )

    try:
        async with asyncio.timeout(seconds):
            servers, name = await _resolved(url, egress)
    except (TimeoutError, OSError, ValueError) as error:
        raise not_connected(error) from error
    client = Client()
    try:
        try:
            async with asyncio.timeout(seconds):
                await client.connect(
                    servers=servers,
                    tls_hostname=name,
                    name="noetl-worker-tool",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=seconds,  # type: ignore[arg-type]  # a float does
                    error_cb=keep,
                    **login,
                )
        except (TimeoutError, OSError, NatsError, ValueError) as error:
            raise not_connected(error) from error
        yield client
    finally:
        with contextlib.suppress(TimeoutError, OSError, NatsError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


async def _resolved(url: str, egress: Egress) -> tuple[list[str], str | None]:
    """Return the servers by addresses that may be connected to, and the name for their TLS.

    Servers with several names are left as they are, each checked: TLS knows one name. So are those
    of web sockets.
    """
    servers = [one.strip() for one in url.split(",")]
    parts = [urlsplit(one if "://" in one else f"nats://{one}") for one in servers]
    found: list[str] = []
    for part in parts:
        if part.hostname is None:
            raise ValueError("nats: the address names no host")
        addresses = await egress.addresses(part.hostname, part.port or _PORT)
        login, at, _ = part.netloc.rpartition("@")
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            found.append(f"{part.scheme}://{login}{at}{host}:{part.port or _PORT}")
    names = {part.hostname for part in parts}
    is_plain = len(names) == 1 and all(part.scheme in {"nats", "tls"} for part in parts)
    return (found, names.pop()) if is_plain else (servers, None)


def _login(fields: Fields, context: ToolContext) -> JsonObject:
    """Return token, or user and password; each may be the name of a secret."""

    def secret(name: str) -> str | None:
        value = fields.optional_text(name)
        return None if value is None else context.secrets.get(value, value)

    token = secret("token")
    if token is not None:
        return {"token": token}
    user = fields.optional_text("user")
    return {} if user is None else {"user": user, "password": secret("password") or ""}


def _without_login(url: str) -> str:
    shown = []
    for one in url.split(","):
        scheme, colon, rest = one.strip().rpartition("://")
        shown.append(f"{scheme}{colon}{rest.rpartition('@')[2]}")
    return ",".join(shown)


def _failed(operation: str, error: Exception) -> ToolError:
    if isinstance(error, TimeoutError):
        failure = Failure(kind="timeout", retryable=True)
        return ToolError("Execution failed", f"{operation}: no answer in time", failure=failure)
    return ToolError("Execution failed", f"{operation}: {_text(error)}")


def _text(error: Exception) -> str:
    described = getattr(error, "description", None)
    return str(described or error) or type(error).__name__


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Nats(
        seconds=settings.worker_nats_tool_seconds,
        most=settings.worker_nats_tool_bytes,
        egress=Egress.from_settings(settings),
    )

"""One bounded read of a source of messages."""

import asyncio
from time import perf_counter
from typing import Literal

from noetl_common.egress import Egress
from noetl_contract.json import Json, JsonObject

from noetl_worker.sources.registry import Sources
from noetl_worker.sources.source import Source, SourceAway, Taken, WrongSource
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

type AckMode = Literal["on_success", "auto", "manual", "none", "peek"]

_MOST_MESSAGES = 1000
_LONGEST_WAIT_MS = 5000
_MODES: dict[Json, AckMode] = {
    None: "on_success",
    True: "on_success",
    False: "manual",
    "on_success": "on_success",
    "auto": "auto",
    "manual": "manual",
    "none": "none",
    "peek": "peek",
}
_ACKED = frozenset({"on_success", "auto"})
_BY_NAME = ("token", "password")


class Subscription:
    """The subscription tool. A connection per call: playbooks bring their own servers and users."""

    def __init__(self, sources: Sources, *, seconds: float, most: int) -> None:
        self._sources = sources
        self._seconds = seconds
        self._most = most

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Take messages once, and acknowledge them if that is wanted."""
        started = perf_counter()
        fields = Fields(context.render(config), kind="subscription")
        kind = fields.text("source")
        operation = fields.choice("operation", ("poll",), default="poll")
        batch = fields.optional_unsigned("batch")
        wait = fields.optional_unsigned("timeout_ms")
        batch = min(max(100 if batch is None else batch, 1), _MOST_MESSAGES)
        seconds = min(max(1000 if wait is None else wait, 1), _LONGEST_WAIT_MS) / 1000
        mode = _mode(fields)
        connection = _connection(fields.config, context)
        try:
            async with asyncio.timeout(self._seconds + seconds):
                source = await self._sources.make(kind, connection, prefetch=batch)
                taken = await self._poll(source, mode, batch=batch, seconds=seconds)
        except WrongSource as error:
            raise ToolError("Configuration error", str(error)) from error
        except (SourceAway, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            failure = Failure(kind="connection", retryable=True)
            raise ToolError(
                "Execution failed", f"subscription[{kind}]: {reason}", failure=failure
            ) from error
        data = _data(kind, operation, mode, taken)
        return ToolResult(data=data, duration_ms=int((perf_counter() - started) * 1000))

    async def _poll(
        self, source: Source, mode: AckMode, *, batch: int, seconds: float
    ) -> list[Taken]:
        try:
            await source.open()
            taken = await source.fetch(batch, seconds)
            size = sum(one.size for one in taken)
            if size > self._most:
                await source.give_back(taken)
                raise WrongSource(
                    f"{len(taken)} messages have {size} bytes, the limit is {self._most}: take "
                    "fewer with `batch`"
                )
            if mode in _ACKED:
                await source.ack(taken)
            elif mode != "manual":
                await source.give_back(taken)
        finally:
            await source.close()
        return taken


def _mode(fields: Fields) -> AckMode:
    given = fields.config.get("ack")
    mode = _MODES.get(given) if isinstance(given, str | bool | None) else None
    if mode is None:
        raise fields.refuse(
            f"unknown variant `{given}`, expected one of `on_success`, `auto`, `manual`, `none`, "
            "`peek`, true, false"
        )
    return mode


def _connection(config: JsonObject, context: ToolContext) -> JsonObject:
    """Return the fields of the connection; a login may be the name of a secret."""
    found = dict(config)
    for name in _BY_NAME:
        value = found.get(name)
        if isinstance(value, str):
            found[name] = context.secrets.get(value, value)
    return found


def _data(kind: str, operation: str, mode: AckMode, taken: list[Taken]) -> JsonObject:
    is_acked = mode in _ACKED
    messages = []
    ids = []
    for one in taken:
        message = one.message.to_json()
        if not is_acked:
            message["ack_id"] = one.handle if isinstance(one.handle, str) else one.message.id
            ids.append(message["ack_id"])
        messages.append(message)
    return {
        "status": "success",
        "source": kind,
        "operation": operation,
        "count": len(messages),
        "messages": messages,
        "acked": is_acked,
        "ack_mode": mode,
        "ack_ids": ids,
        "metrics": {
            "noetl_subscription_messages_fetched_total": len(messages),
            "source": kind,
        },
    }


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    tokens = GoogleTokens(parts.own_http or parts.http, settings)
    sources = Sources(
        egress=Egress.from_settings(settings),
        client=parts.http,
        tokens=tokens.token,
        consumer=settings.worker_id,
    )
    return Subscription(
        sources,
        seconds=settings.worker_nats_tool_seconds,
        most=settings.worker_nats_tool_bytes,
    )

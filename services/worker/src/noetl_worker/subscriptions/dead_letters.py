"""Messages that never start anything: the source's own place for them, or ours."""

import asyncio
import json
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson
from noetl_bus.broker import Bus, connect
from noetl_bus.settings import NatsSettings
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.subjects import dead_letter_subject
from noetl_contract.subscriptions.messages import Message

from noetl_worker.sources.source import Source, SourceAway, WrongSource
from noetl_worker.subscriptions.control import Control
from noetl_worker.subscriptions.metrics import DEAD_LETTERED

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

_log = get_logger()

ORIGIN = "subscriptions"
"""Last part of the subject of our own dead letters."""
_LONGEST_REASON = 500
_ROOM = 16 << 10
_CONNECT_SECONDS = 10.0


class DeadLetters:
    """Store messages that are given up.

    Args:
        control: of the subscription, in whose log each is noted.
        to: the place at the source; None for the stream ``noetl_dead``.
        settings: of the broker of that stream.
        source: word of the source.
        path: of the subscription.
    """

    def __init__(
        self, control: Control, *, to: str | None, settings: NatsSettings, source: str, path: str
    ) -> None:
        self._control = control
        self._to = to
        self._settings = settings
        self._source = source
        self._path = path
        self._stack = AsyncExitStack()
        self._bus: Bus | None = None

    async def bury(self, message: Message, key: str | None, reason: str, source: Source) -> bool:
        """Store a message; return whether it is stored."""
        reason = reason[:_LONGEST_REASON]
        body = _body(message)
        headers = {
            "Noetl-Dead-Reason": _line(reason),
            "Noetl-Dead-Subscription": _line(self._path),
            "Noetl-Dead-Source": self._source,
            "Noetl-Dead-Message-Id": _line(message.id),
        }
        try:
            if self._to is not None:
                await source.publish(self._to, body, headers)
            else:
                await self._publish(body, headers, key)
        except (SourceAway, WrongSource, NoetlError, TimeoutError) as error:
            _log.error("dead_letter_not_stored", message=message.id, reason=str(error) or "timeout")
            return False
        DEAD_LETTERED.labels(self._source).inc()
        _log.warning("dead_letter", message=message.id, reason=reason)
        context: JsonObject = {
            "subscription_id": str(self._control.subscription_id),
            "message_id": _sound(message.id),
            "reason": _sound(reason),
            "to": self._to or dead_letter_subject(ORIGIN),
        }
        await self._control.note(
            "subscription.message.dead_lettered", "ingress", "DEAD_LETTERED", context
        )
        return True

    async def _publish(self, body: bytes, headers: dict[str, str], key: str | None) -> None:
        if self._bus is None:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._bus = await self._stack.enter_async_context(
                    connect(self._settings, name="worker")
                )
        most = self._bus.largest_message - _ROOM
        if len(body) > most:
            headers["Noetl-Dead-Cut"] = str(len(body))
            body = body[:most]
        known_by = f"{self._path}\n{key or headers['Noetl-Dead-Message-Id']}"
        name = sha256(known_by.encode("utf-8", "surrogatepass"))
        await self._bus.publish(
            dead_letter_subject(ORIGIN),
            body,
            message_id=f"d:{name.hexdigest()[:32]}",
            headers=headers,
        )

    async def close(self) -> None:
        """Close the connection, if one was opened."""
        await self._stack.aclose()


def _body(message: Message) -> bytes:
    """Return a message as JSON, also one that can't be sent as it is."""
    try:
        return orjson.dumps(message.to_json())
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(message.to_json(), default=str).encode()


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _line(text: str) -> str:
    """Return a text that a header takes."""
    return (
        "".join(one if one.isprintable() else " " for one in text)
        .encode("ascii", "replace")
        .decode()
    )

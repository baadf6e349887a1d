"""Redis: a stream as a consumer group reads it."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.messages import Headers, Message, decoded_body, headers_of

from noetl_worker.sources.source import SourceAway, Taken, about, client_of, required, text

_KIND = "redis"
_SECONDS = 10.0
_CLAIM_IDLE_MS = 60_000
_BODIES = ("data", "body", "payload")

type _Entry = tuple[bytes, dict[bytes, bytes] | None]


class RedisSource:
    """Read a stream: first entries that this consumer had before, then new ones.

    Entries of a consumer that is gone are taken over once they have waited for long enough.
    """

    def __init__(self, config: Mapping[str, Json], *, consumer: str) -> None:
        self._url = required(config, "url", source=_KIND)
        self._stream = required(config, "stream", source=_KIND)
        self._group = required(config, "group", source=_KIND)
        self._consumer = text(config, "consumer") or consumer
        idle = config.get("claim_idle_ms")
        self._idle_ms = idle if isinstance(idle, int) and idle > 0 else _CLAIM_IDLE_MS
        self._user = text(config, "user")
        self._password = text(config, "password")
        library: Any = client_of("redis.asyncio", extra=_KIND)
        errors: Any = client_of("redis.exceptions", extra=_KIND)
        self._library = library
        self._broken = (errors.RedisError, OSError, TimeoutError)
        self._answered = errors.ResponseError
        self._client: Any = None
        self._held: set[bytes] = set()
        self._own: bytes | None = b"0"
        self._claim_at = 0.0

    async def open(self) -> None:
        """Connect, and make the group if it is not there."""
        login = {"username": self._user, "password": self._password}
        given = {name: value for name, value in login.items() if value is not None}
        self._client = self._library.from_url(
            self._url, socket_connect_timeout=_SECONDS, socket_timeout=None, **given
        )
        try:
            await self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except self._answered as error:
            if "BUSYGROUP" not in str(error):
                await self.close()
                raise _away(error) from error
        except self._broken as error:
            await self.close()
            raise _away(error) from error

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Take entries."""
        try:
            async with asyncio.timeout(seconds + _SECONDS):
                found = await self._unsettled(most) or await self._new(most, seconds)
        except self._broken as error:
            raise _away(error) from error
        self._held.update(name for name, _ in found)
        gone = [name for name, fields in found if not fields]
        if gone:
            await self._settle(gone)
        return [self._taken(name, fields) for name, fields in found if fields]

    async def _unsettled(self, most: int) -> list[_Entry]:
        """Return entries that were taken before: by us, or by a consumer that is gone."""
        if self._own is not None:
            found = await self._read(most, start=self._own, block=None)
            self._own = found[-1][0] if found else None
            if found:
                return found
        now = asyncio.get_running_loop().time()
        if now < self._claim_at:
            return []
        _, found, *_ = await self._client.xautoclaim(
            self._stream, self._group, self._consumer, min_idle_time=self._idle_ms, count=most
        )
        fresh = [(name, fields) for name, fields in found if name not in self._held]
        if not fresh:
            self._claim_at = now + self._idle_ms / 2000
        return fresh

    async def _new(self, most: int, seconds: float) -> list[_Entry]:
        return await self._read(most, start=b">", block=max(1, int(seconds * 1000)))

    async def _read(self, most: int, *, start: bytes, block: int | None) -> list[_Entry]:
        answer = await self._client.xreadgroup(
            self._group, self._consumer, {self._stream: start}, count=most, block=block
        )
        if isinstance(answer, dict):  # the newer protocol
            answer = [
                (name, [one for part in parts for one in part]) for name, parts in answer.items()
            ]
        return [entry for _, entries in answer or () for entry in entries]

    def _taken(self, name: bytes, fields: dict[bytes, bytes]) -> Taken:
        texts = {key.decode("utf-8", "replace"): value for key, value in fields.items()}
        body = next((texts.pop(key) for key in _BODIES if key in texts), None)
        headers = _headers(texts)
        attributes: JsonObject = {
            key: value.decode("utf-8", "replace") for key, value in texts.items()
        }
        data, notes = (attributes, {}) if body is None else decoded_body(body)
        entry = name.decode()
        message = Message(
            id=entry,
            data=data,
            headers=headers,
            attributes=attributes,
            metadata=about(source=_KIND, mode="pull", stream=self._stream) | notes,
        )
        size = sum(map(len, fields.values()))
        identity = f"redis:{self._stream}:{entry}"
        return Taken(message=message, identity=identity, handle=name, size=size)

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Acknowledge."""
        await self._settle([one.handle for one in taken])

    async def _settle(self, names: Sequence[bytes]) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.xack(self._stream, self._group, *names)
        except self._broken as error:
            raise _away(error) from error
        finally:
            # One that is still pending then is taken over from ourselves.
            self._held.difference_update(names)

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Start the time after which others take entries over anew."""
        if not taken:
            return
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.xclaim(
                    self._stream,
                    self._group,
                    self._consumer,
                    min_idle_time=0,
                    message_ids=[one.handle for one in taken],
                    justid=True,
                )
        except self._broken as error:
            raise _away(error) from error

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Read entries again, from the first that is not settled."""
        self._held.difference_update(one.handle for one in taken)
        self._own = b"0"

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Add an entry to a stream."""
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.xadd(to, {"data": body, **headers})
        except self._broken as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            with contextlib.suppress(*self._broken):
                await self._client.aclose()
        self._client = None


def _headers(texts: dict[str, bytes]) -> Headers:
    """Take the headers out of an entry: a field `headers` with JSON, else all its other fields."""
    raw = texts.get("headers")
    if raw is not None:
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict):
            del texts["headers"]
            return headers_of({str(name): str(value) for name, value in found.items()})
    return headers_of({name: value.decode("utf-8", "replace") for name, value in texts.items()})


def _away(error: BaseException) -> SourceAway:
    return SourceAway(str(error) or type(error).__name__)

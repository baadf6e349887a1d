"""What the nats tool can do: each operation reads its fields first and runs then (tools 18)."""

import base64
import binascii
import fnmatch
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMeta
from nats.js.errors import (
    BadBucketError,
    BucketNotFoundError,
    InvalidBucketNameError,
    KeyNotFoundError,
    NoKeysError,
    NotFoundError,
)
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore

from noetl_worker import encoding
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import ToolError

__all__ = ["OPERATIONS", "Call", "Operation"]

_ENCODINGS = ("utf-8", "base64")
_LARGEST_BATCH = 1000
_LONGEST_WAIT_MS = 5000

type Data = dict[str, Any]


@dataclass(slots=True)
class Call:
    """One call of the tool."""

    fields: Fields
    operation: str
    most: int
    waits: float = 0.0
    """Seconds that the operation waits on purpose."""
    js: JetStreamContext = None  # type: ignore[assignment]  # known when connected

    def required(self, name: str, *, by: str | None = None) -> str:
        """Return a text that the operation can't do without.

        Raises:
            ToolError: it is missing or empty.
        """
        value = self.fields.optional_text(name)
        if not value:
            who = by or self.operation
            raise ToolError("Configuration error", f"{who} requires '{name}'")
        return value

    def bucket(self) -> str:
        """Return the name of the bucket."""
        return self.required("bucket", by="NATS KV/Object operation")

    async def keys(self, bucket: str) -> KeyValue:
        """Open a bucket of keys."""
        try:
            return await self.js.key_value(bucket)
        except (BucketNotFoundError, InvalidBucketNameError, BadBucketError) as error:
            raise _no_bucket("KV bucket", bucket, error) from error

    async def objects(self, bucket: str) -> ObjectStore:
        """Open a bucket of objects."""
        try:
            return await self.js.object_store(bucket)
        except (BucketNotFoundError, InvalidBucketNameError) as error:
            raise _no_bucket("Object Store bucket", bucket, error) from error


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: what it reads of the configuration, what it does with that."""

    read: Callable[[Call], tuple[Any, ...]]
    run: Callable[[Call, tuple[Any, ...]], Awaitable[Data]]


def _no_bucket(what: str, bucket: str, error: Exception) -> ToolError:
    reason = "not a valid name"
    if isinstance(error, BucketNotFoundError):
        reason = "not found"
    elif isinstance(error, BadBucketError):
        reason = "it is no bucket of keys"
    return ToolError("Execution failed", f"Cannot open {what} '{bucket}': {reason}")


def _no_object(call: Call, bucket: str, name: str) -> ToolError:
    return ToolError(
        "Execution failed", f"{call.operation}: object '{name}' not found in '{bucket}'"
    )


def _decoded(data: bytes | None) -> Any:
    try:
        return orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return (data or b"").decode("utf-8", "replace")


def _bytes_of(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else encoding.encode(value)


# Keys.


def _read_key(call: Call) -> tuple[Any, ...]:
    return call.bucket(), call.required("key", by="NATS KV operation")


def _read_put(call: Call) -> tuple[Any, ...]:
    bucket, key = _read_key(call)
    return bucket, key, _bytes_of(call.fields.required_value("value", by=call.operation))


async def _kv_get(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, key = wanted
    try:
        entry = await (await call.keys(bucket)).get(key)
    except KeyNotFoundError:
        return {"status": "not_found", "bucket": bucket, "key": key, "value": None}
    return {"bucket": bucket, "key": key, "value": _decoded(entry.value)}


async def _kv_put(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, key, value = wanted
    revision = await (await call.keys(bucket)).put(key, value)
    return {"bucket": bucket, "key": key, "revision": revision}


async def _kv_delete(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, key = wanted
    store = await call.keys(bucket)
    await (store.purge(key) if call.operation == "kv_purge" else store.delete(key))
    return {"bucket": bucket, "key": key}


async def _kv_keys(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, pattern = wanted
    try:
        found = await (await call.keys(bucket)).keys()
    except NoKeysError:
        found = []
    keys = sorted(key for key in found if pattern is None or fnmatch.fnmatchcase(key, pattern))
    return {"bucket": bucket, "keys": keys, "count": len(keys)}


# Objects.


def _read_object(call: Call) -> tuple[Any, ...]:
    return call.bucket(), call.required("name", by="NATS Object operation")


def _read_object_put(call: Call) -> tuple[Any, ...]:
    bucket, name = _read_object(call)
    value = call.fields.required_value("data", by=call.operation)
    data = _bytes_of(value)
    if call.fields.choice("encoding", _ENCODINGS, default="utf-8") == "base64":
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ToolError("Configuration error", f"object_put: bad base64: {error}") from error
    return bucket, name, data, call.fields.optional_text("description")


def _described(info: ObjectInfo) -> Data:
    return {
        "name": info.name,
        "size": info.size or 0,
        "description": info.description,
        "chunks": info.chunks or 0,
    }


async def _object_get(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, name, form = wanted
    store = await call.objects(bucket)
    try:
        info = await store.get_info(name)
        size = info.size or 0
        if size > call.most:
            message = f"object_get: '{name}' has {size} bytes, the limit is {call.most}"
            raise ToolError("Execution failed", message)
        data = (await store.get(name)).data or b""
    except NotFoundError as error:
        raise _no_object(call, bucket, name) from error
    text = base64.b64encode(data).decode() if form == "base64" else data.decode("utf-8", "replace")
    return {"bucket": bucket, "name": name, "data": text, "size": len(data)}


async def _object_put(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, name, data, description = wanted
    store = await call.objects(bucket)
    info = await store.put(name, data, meta=ObjectMeta(name=name, description=description))
    return {"bucket": bucket, "name": name, "size": info.size or 0}


async def _object_delete(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, name = wanted
    store = await call.objects(bucket)
    try:
        await store.delete(name)
    except NotFoundError as error:
        raise _no_object(call, bucket, name) from error
    return {"bucket": bucket, "name": name}


async def _object_list(call: Call, wanted: tuple[Any, ...]) -> Data:
    (bucket,) = wanted
    store = await call.objects(bucket)
    try:
        found = [_described(info) for info in await store.list(ignore_deletes=True)]
    except NotFoundError:
        found = []
    return {"bucket": bucket, "objects": found, "count": len(found)}


async def _object_info(call: Call, wanted: tuple[Any, ...]) -> Data:
    bucket, name = wanted
    store = await call.objects(bucket)
    try:
        info = await store.get_info(name)
    except NotFoundError as error:
        raise _no_object(call, bucket, name) from error
    return {"bucket": bucket, **_described(info)}


# Streams.


def _read_publish(call: Call) -> tuple[Any, ...]:
    subject = call.required("subject")
    value = call.fields.required_value("data", by=call.operation)
    return subject, _bytes_of(value), call.fields.texts("headers") or None


def _read_consume(call: Call) -> tuple[Any, ...]:
    batch = call.fields.optional_unsigned("batch")
    wait = call.fields.optional_unsigned("timeout_ms")
    batch = min(max(100 if batch is None else batch, 1), _LARGEST_BATCH)
    wait = min(max(1000 if wait is None else wait, 1), _LONGEST_WAIT_MS)
    call.waits = wait / 1000
    ack = call.fields.flag("ack", default=True)
    return call.required("stream"), call.required("consumer"), batch, ack


def _read_get(call: Call) -> tuple[Any, ...]:
    stream = call.required("stream")
    seq = call.fields.optional_unsigned("seq")
    subject = call.fields.optional_text("subject")
    last = call.fields.flag("last", default=False)
    if seq is None and not subject and not last:
        raise ToolError(
            "Configuration error", "js_get_msg requires 'seq', 'subject' or 'last: true'"
        )
    return stream, seq, subject


async def _js_publish(call: Call, wanted: tuple[Any, ...]) -> Data:
    subject, data, headers = wanted
    ack = await call.js.publish(subject, data, headers=headers)
    return {"stream": ack.stream, "seq": ack.seq, "duplicate": bool(ack.duplicate)}


async def _js_consume(call: Call, wanted: tuple[Any, ...]) -> Data:
    stream, consumer, batch, ack = wanted
    try:
        await call.js.stream_info(stream)
    except NotFoundError as error:
        message = f"js_consume: stream '{stream}' not found: {error.description}"
        raise ToolError("Execution failed", message) from error
    try:
        info = await call.js.consumer_info(stream, consumer)
    except NotFoundError as error:
        message = f"js_consume: consumer '{consumer}' of stream '{stream}' not found"
        raise ToolError("Execution failed", f"{message}: {error.description}") from error
    if info.config.deliver_subject:
        message = f"js_consume: consumer '{consumer}' pushes; only one that is pulled can be used"
        raise ToolError("Execution failed", message)
    subscription = await call.js.pull_subscribe_bind(
        consumer, stream, pending_bytes_limit=call.most
    )
    try:
        found = await subscription.fetch(batch, timeout=call.waits)
    except (NatsTimeoutError, TimeoutError):
        found = []
    messages = []
    for one in found:
        meta = one.metadata
        messages.append(
            {
                "subject": one.subject,
                "stream_seq": meta.sequence.stream,
                "consumer_seq": meta.sequence.consumer,
                "delivered": meta.num_delivered,
                "pending": meta.num_pending,
                "data": _decoded(one.data),
                "headers": dict(one.headers or {}),
            }
        )
        if ack:
            await one.ack()
    return {
        "stream": stream,
        "consumer": consumer,
        "count": len(messages),
        "messages": messages,
        "acked": ack,
    }


async def _js_get_msg(call: Call, wanted: tuple[Any, ...]) -> Data:
    stream, seq, subject = wanted
    if seq is None and not subject:
        info = await call.js.stream_info(stream)
        seq = info.state.last_seq
    message = await call.js.get_msg(stream, seq=seq, subject=None if seq else subject)
    return {
        "stream": stream,
        "subject": message.subject,
        "seq": message.seq,
        "data": _decoded(message.data),
    }


async def _js_stream_info(call: Call, wanted: tuple[Any, ...]) -> Data:
    (stream,) = wanted
    info = await call.js.stream_info(stream)
    config, state = info.config, info.state
    return {
        "stream": stream,
        "config": {
            "name": config.name,
            "subjects": config.subjects,
            "max_msgs": config.max_msgs,
            "max_bytes": config.max_bytes,
        },
        "state": {
            name: getattr(state, name)
            for name in ("messages", "bytes", "first_seq", "last_seq", "consumer_count")
        },
    }


OPERATIONS: dict[str, Operation] = {
    "kv_get": Operation(_read_key, _kv_get),
    "kv_put": Operation(_read_put, _kv_put),
    "kv_delete": Operation(_read_key, _kv_delete),
    "kv_keys": Operation(
        lambda call: (call.bucket(), call.fields.optional_text("pattern")), _kv_keys
    ),
    "kv_purge": Operation(_read_key, _kv_delete),
    "object_get": Operation(
        lambda call: (
            *_read_object(call),
            call.fields.choice("encoding", _ENCODINGS, default="utf-8"),
        ),
        _object_get,
    ),
    "object_put": Operation(_read_object_put, _object_put),
    "object_delete": Operation(_read_object, _object_delete),
    "object_list": Operation(lambda call: (call.bucket(),), _object_list),
    "object_info": Operation(_read_object, _object_info),
    "js_publish": Operation(_read_publish, _js_publish),
    "js_consume": Operation(_read_consume, _js_consume),
    "js_get_msg": Operation(_read_get, _js_get_msg),
    "js_stream_info": Operation(lambda call: (call.required("stream"),), _js_stream_info),
}

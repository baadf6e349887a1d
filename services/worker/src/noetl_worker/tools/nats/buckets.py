"""Buckets of keys and of objects: each operation reads its fields before it connects."""

import base64
import binascii
import fnmatch

from nats.js.api import ObjectInfo, ObjectMeta
from nats.js.errors import KeyNotFoundError, NoKeysError, NotFoundError
from noetl_contract.json import JsonObject

from noetl_worker.tools.nats.call import Call, Operation, bytes_of, decoded
from noetl_worker.tools.tool import ToolError

_ENCODINGS = ("utf-8", "base64")


# Keys.


def _read_key(call: Call) -> tuple[str, str]:
    return call.bucket(), call.required("key", by="NATS KV operation")


async def _kv_get(call: Call) -> JsonObject:
    bucket, key = _read_key(call)
    try:
        entry = await (await call.keys(bucket)).get(key)
    except KeyNotFoundError:
        return {"status": "not_found", "bucket": bucket, "key": key, "value": None}
    return {"bucket": bucket, "key": key, "value": decoded(entry.value)}


async def _kv_put(call: Call) -> JsonObject:
    bucket, key = _read_key(call)
    value = bytes_of(call.fields.required_value("value", by=call.operation))
    revision = await (await call.keys(bucket)).put(key, value)
    return {"bucket": bucket, "key": key, "revision": revision}


async def _kv_delete(call: Call) -> JsonObject:
    bucket, key = _read_key(call)
    store = await call.keys(bucket)
    await (store.purge(key) if call.operation == "kv_purge" else store.delete(key))
    return {"bucket": bucket, "key": key}


async def _kv_keys(call: Call) -> JsonObject:
    bucket = call.bucket()
    pattern = call.fields.optional_text("pattern")
    try:
        found = await (await call.keys(bucket)).keys()
    except NoKeysError:
        found = []
    keys = sorted(key for key in found if pattern is None or fnmatch.fnmatchcase(key, pattern))
    return {"bucket": bucket, "keys": keys, "count": len(keys)}


# Objects.


def _no_object(call: Call, bucket: str, name: str) -> ToolError:
    return ToolError(
        "Execution failed", f"{call.operation}: object '{name}' not found in '{bucket}'"
    )


def _read_object(call: Call) -> tuple[str, str]:
    return call.bucket(), call.required("name", by="NATS Object operation")


def _described(info: ObjectInfo) -> JsonObject:
    return {
        "name": info.name,
        "size": info.size or 0,
        "description": info.description,
        "chunks": info.chunks or 0,
    }


async def _object_get(call: Call) -> JsonObject:
    bucket, name = _read_object(call)
    form = call.fields.choice("encoding", _ENCODINGS, default="utf-8")
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


async def _object_put(call: Call) -> JsonObject:
    bucket, name = _read_object(call)
    data = bytes_of(call.fields.required_value("data", by=call.operation))
    if call.fields.choice("encoding", _ENCODINGS, default="utf-8") == "base64":
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ToolError("Configuration error", f"object_put: bad base64: {error}") from error
    description = call.fields.optional_text("description")
    store = await call.objects(bucket)
    info = await store.put(name, data, meta=ObjectMeta(name=name, description=description))
    return {"bucket": bucket, "name": name, "size": info.size or 0}


async def _object_delete(call: Call) -> JsonObject:
    bucket, name = _read_object(call)
    store = await call.objects(bucket)
    try:
        await store.delete(name)
    except NotFoundError as error:
        raise _no_object(call, bucket, name) from error
    return {"bucket": bucket, "name": name}


async def _object_list(call: Call) -> JsonObject:
    bucket = call.bucket()
    store = await call.objects(bucket)
    try:
        found = [_described(info) for info in await store.list(ignore_deletes=True)]
    except NotFoundError:
        found = []
    return {"bucket": bucket, "objects": found, "count": len(found)}


async def _object_info(call: Call) -> JsonObject:
    bucket, name = _read_object(call)
    store = await call.objects(bucket)
    try:
        info = await store.get_info(name)
    except NotFoundError as error:
        raise _no_object(call, bucket, name) from error
    return {"bucket": bucket, **_described(info)}


BUCKET_OPERATIONS: dict[str, Operation] = {
    "kv_get": _kv_get,
    "kv_put": _kv_put,
    "kv_delete": _kv_delete,
    "kv_purge": _kv_delete,
    "kv_keys": _kv_keys,
    "object_get": _object_get,
    "object_put": _object_put,
    "object_delete": _object_delete,
    "object_list": _object_list,
    "object_info": _object_info,
}

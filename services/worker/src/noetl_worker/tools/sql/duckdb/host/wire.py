"""Frames between the worker and a process of DuckDB.

A frame's word is whether there may be integers beyond 64 bits in its JSON. A request names its
operation under ``do``; an answer has ``value`` or ``error``. Values that JSON has no form for
travel as what the operation says.
"""

import json
import struct
from typing import Any

import orjson
from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.errors import Failure, ToolError

SPARE_BYTES = 1 << 20
"""Bytes of an answer beside its result: for names of columns, or a text of an error."""
CONTROL = struct.Struct("<4sQ")
"""Operation and number of a session."""
OPEN = b"OPEN"
"""Serve a session, whose socket comes with it."""
STOP = b"STOP"
"""Interrupt the statement of a session."""


def encoded(value: Json) -> tuple[bool, bytes]:
    """Return word and bytes of the frame of a value."""
    try:
        return False, orjson.dumps(value)
    except TypeError:
        return True, json.dumps(value, default=str).encode()


def decoded(data: bytes | bytearray, *, is_large: bool) -> Any:
    """Return the value of a frame.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(data) if is_large else orjson.loads(data)


def error_answer(error: ToolError) -> JsonObject:
    """Return the answer that raises an error on the other side."""
    failure = error.failure
    return {
        "error": {
            "prefix": error.prefix,
            "message": error.message,
            "kind": failure.kind,
            "retryable": failure.retryable,
        }
    }


def raised(error: JsonObject) -> ToolError:
    """Return the error of an answer."""
    failure = Failure(kind=str(error["kind"]), retryable=bool(error["retryable"]))
    return ToolError(str(error["prefix"]), str(error["message"]), failure=failure)

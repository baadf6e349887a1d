"""The envelope of answers as bytes, and the answer that an error becomes."""

import re

import msgspec
import orjson
from noetl_contract.json import Json
from pydantic import ValidationError

from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger

_log = get_logger()


_PLACE = re.compile(r"[^.`\[\]]+")
_HEAD = b'{"status":200,"body":'
_TAIL = b',"error":null,"detail":null}'


def envelope(body: bytes) -> bytes:
    """Put encoded JSON into the envelope of a 200."""
    return b"%b%b%b" % (_HEAD, body, _TAIL)


def unread_body(data: bytes) -> bytes | None:
    """Return the body of a good answer that `envelope` has wrapped, as it is; None of others."""
    if not (data.startswith(_HEAD) and data.endswith(_TAIL)):
        return None
    return data[len(_HEAD) : -len(_TAIL)]


def encode_error(status: int, error: str, detail: Json = None) -> bytes:
    """Encode a refusal."""
    return orjson.dumps(
        {"status": status, "body": None, "error": error, "detail": detail}, default=str
    )


def reply_to_error(error: Exception, *, name: str, has_details: bool) -> tuple[int, bytes]:
    """Return status and answer for an error of a handler; an unexpected one is only logged.

    Args:
        error: what the handler raised.
        name: of the operation, for the log.
        has_details: whether the answer may tell the error's context, where a secret may be.
    """
    if not isinstance(error, NoetlError):
        _log.error("rpc_failed", operation=name, exc_info=error)
        return 500, encode_error(500, "internal error")
    status = error.http_status
    if status >= 500 and not isinstance(error, Transient):
        _log.error("rpc_failed", operation=name, error=error.message)
    return status, encode_error(status, error.message, error.detail if has_details else None)


def reply_to_wrong_request(error: ValueError, *, has_details: bool) -> tuple[int, bytes]:
    """Return status and answer for a request that is no JSON or has the wrong shape."""
    if isinstance(error, msgspec.ValidationError):
        return _reply_to_wrong_struct(error, has_details=has_details)
    if not isinstance(error, ValidationError):
        return 400, encode_error(400, f"the request is no JSON object: {error}")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if any(problem["type"] == "model_type" and not problem["loc"] for problem in problems):
        return 400, encode_error(400, "the request is no JSON object: not an object")
    if has_details:
        return 422, encode_error(422, "the request has the wrong shape", problems)
    text = "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems)
    return 422, encode_error(422, text)


def _reply_to_wrong_struct(
    error: msgspec.ValidationError, *, has_details: bool
) -> tuple[int, bytes]:
    what, _, place = str(error).partition(" - at `$")
    if not place and what.startswith("Expected `object`"):
        return 400, encode_error(400, "the request is no JSON object: not an object")
    problem = {"loc": _PLACE.findall(place), "msg": what}
    if has_details:
        return 422, encode_error(422, "the request has the wrong shape", [problem])
    return 422, encode_error(422, str(error))


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path)) or "request"

"""The answers that errors become."""

import re

import msgspec
from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger
from noetl_contract.rpc import RpcReply
from pydantic import ValidationError

_log = get_logger()


_PLACE = re.compile(r"[^.`\[\]]+")


def reply_to_error(error: Exception, *, name: str, has_details: bool) -> RpcReply:
    """Return the answer to an error of a handler; an unexpected one is only logged.

    Args:
        error: what the handler raised.
        name: of the operation, for the log.
        has_details: whether the answer may tell the error's context, where a secret may be.
    """
    if not isinstance(error, NoetlError):
        _log.error("rpc_failed", operation=name, exc_info=error)
        return RpcReply(status=500, error="internal error")
    status = error.http_status
    if status >= 500 and not isinstance(error, Transient):
        _log.error("rpc_failed", operation=name, error=error.message)
    detail = error.detail if has_details else None
    return RpcReply(status=status, error=error.message, detail=detail)


def reply_to_wrong_request(error: ValueError, *, has_details: bool) -> RpcReply:
    """Return the answer to a request that is no JSON or has the wrong shape."""
    if isinstance(error, msgspec.ValidationError):
        return _reply_to_wrong_struct(error, has_details=has_details)
    if not isinstance(error, ValidationError):
        return RpcReply(status=400, error=f"the request is no JSON object: {error}")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if any(problem["type"] == "model_type" and not problem["loc"] for problem in problems):
        return RpcReply(status=400, error="the request is no JSON object: not an object")
    if has_details:
        return RpcReply(status=422, error="the request has the wrong shape", detail=problems)
    text = "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems)
    return RpcReply(status=422, error=text)


def _reply_to_wrong_struct(error: msgspec.ValidationError, *, has_details: bool) -> RpcReply:
    what, _, place = str(error).partition(" - at `$")
    if not place and what.startswith("Expected `object`"):
        return RpcReply(status=400, error="the request is no JSON object: not an object")
    problem = {"loc": _PLACE.findall(place), "msg": what}
    if has_details:
        return RpcReply(status=422, error="the request has the wrong shape", detail=[problem])
    return RpcReply(status=422, error=str(error))


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path)) or "request"

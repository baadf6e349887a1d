"""Typed handlers: a function for an operation, with the replies for its errors."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import orjson
from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger
from noetl_common.telemetry.work import working_on
from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc import Refusal, RpcReply
from noetl_contract.rpc.operation import Operation
from pydantic import ValidationError

_log = get_logger()
_PLACE = re.compile(r"[^.`\[\]]+")


@dataclass(frozen=True, slots=True)
class Encoded[Answer]:
    """An encoded answer, for reads that build JSON without models."""

    body: bytes


type _Found[Answer] = Awaitable[Answer | Encoded[Answer] | Refusal]


@dataclass(frozen=True, slots=True)
class Handler:
    """Answers the requests of one operation; created by `handle`.

    Attributes:
        operation: the operation.
        name: label in metrics.
        answer: decodes a request, calls the function, and encodes the answer.
        has_details: whether replies to errors include the context of the error.
    """

    operation: Operation[Shape, Json]
    name: str
    answer: Callable[[bytes], Awaitable[RpcReply]]
    has_details: bool


def encoded[Request: Shape, Answer](
    _operation: Operation[Request, Answer], body: Json
) -> Encoded[Answer]:
    """Encode a body of JSON values; an ``orjson.Fragment`` is already encoded."""
    return Encoded(orjson.dumps(body, default=str))


def handle[Request: Shape, Answer](
    operation: Operation[Request, Answer],
    function: Callable[[Request], _Found[Answer]],
    *,
    has_details: bool = True,
) -> Handler:
    """Return the handler that answers requests of an operation by a function.

    Args:
        operation: the operation, declared in ``noetl_contract.rpc``.
        function: accepts the model of the request. It returns the model of the answer, an encoded
            answer, a `Refusal`, or the reply of another process of the service. If it raises a
            ``NoetlError``, the reply is a refusal.
        has_details: False for secrets, so that replies to errors contain only the text.
    """

    async def answer(data: bytes) -> RpcReply:
        try:
            request = operation.decode_request(data)
        except ValueError as error:
            return reply_to_wrong_request(error, has_details=has_details)
        working_on(request)
        found = await function(request)
        if isinstance(found, Refusal):
            return RpcReply(status=found.status, error=found.error, detail=found.detail)
        body = found.body if isinstance(found, Encoded) else operation.encode_answer(found)
        return RpcReply(raw_body=msgspec.Raw(body))

    name = f"noetl_rpc.{operation.service}.{operation.name}"
    return Handler(operation, name, answer, has_details)


@dataclass(frozen=True, slots=True)
class Method[Owner, Request: Shape, Answer]:
    """A method that answers an operation; created by `answers`."""

    operation: Operation[Request, Answer]
    function: Callable[[Owner, Request], _Found[Answer]]

    def __get__(self, owner: Owner, _kind: object = None) -> Callable[[Request], _Found[Answer]]:
        """Bind the method to its object."""
        return partial(self.function, owner)


class Handlers:
    """Base class of objects with methods that answer operations, each decorated by `answers`."""

    has_details = True
    """False for secrets, so that replies to errors contain only the text."""

    def handlers(self) -> list[Handler]:
        """Return the handlers of all decorated methods."""
        return [
            handle(method.operation, method.__get__(self), has_details=self.has_details)
            for method in vars(type(self)).values()
            if isinstance(method, Method)
        ]


def answers[Owner: Handlers, Request: Shape, Answer](
    operation: Operation[Request, Answer],
) -> Callable[[Callable[[Owner, Request], _Found[Answer]]], Method[Owner, Request, Answer]]:
    """Decorate a method of `Handlers` that answers the requests of an operation."""
    return partial(Method, operation)


def reply_to_error(error: Exception, *, name: str, has_details: bool) -> RpcReply:
    """Return the reply for an error of a handler; details of an unexpected error are only logged.

    Args:
        error: the error of the handler.
        name: name of the operation, for the log.
        has_details: whether the reply may include the context of the error, which may be secret.
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
    """Return the reply to a request that is not JSON or has the wrong shape."""
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

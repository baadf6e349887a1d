"""Typed handlers: a function for an operation, checked against its models."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import orjson
from msgspec import Raw
from noetl_common.telemetry.work import working_on
from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc import Refusal, RpcReply
from noetl_contract.rpc.operation import Operation

from noetl_bus.rpc.replies import reply_to_wrong_request


@dataclass(frozen=True, slots=True)
class Encoded[Answer]:
    """An answer that is JSON already, for reads that build it without models."""

    body: bytes


type _Found[Answer] = Awaitable[Answer | Encoded[Answer] | Refusal]


@dataclass(frozen=True, slots=True)
class Handler:
    """Answers the requests of one operation; made by `handle`.

    Attributes:
        operation: its subject is listened on.
        name: labels the metrics.
        answer: decodes a request, runs the function, encodes the body of the answer.
        has_details: whether answers to errors tell the context of the error.
    """

    operation: Operation[Shape, Json]
    name: str
    answer: Callable[[bytes], Awaitable[RpcReply]]
    has_details: bool


def encoded[Request: Shape, Answer](
    _operation: Operation[Request, Answer], body: Json
) -> Encoded[Answer]:
    """Encode a body that was built as JSON; ``orjson.Fragment`` passes through."""
    return Encoded(orjson.dumps(body, default=str))


def handle[Request: Shape, Answer](
    operation: Operation[Request, Answer],
    function: Callable[[Request], _Found[Answer]],
    *,
    has_details: bool = True,
) -> Handler:
    """Let a function answer the requests of an operation.

    Args:
        operation: declared in ``noetl_contract.rpc``.
        function: takes the request's model. It returns the answer's model, the encoded answer,
            a `Refusal`, or the reply of another process of the service; or raises a
            ``NoetlError``, which becomes a refusal.
        has_details: False for secrets: errors are answered with their text alone.
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
        return RpcReply(raw_body=Raw(body))

    name = f"noetl_rpc.{operation.service}.{operation.name}"
    return Handler(operation, name, answer, has_details)


@dataclass(frozen=True, slots=True)
class Method[Owner, Request: Shape, Answer]:
    """A method that answers an operation; made by `answers`."""

    operation: Operation[Request, Answer]
    function: Callable[[Owner, Request], _Found[Answer]]

    def __get__(self, owner: Owner, _kind: object = None) -> Callable[[Request], _Found[Answer]]:
        """Bind the method to its object, as methods are."""
        return partial(self.function, owner)


class Handlers:
    """Methods that answer operations, each under `answers`."""

    has_details = True
    """False for secrets: errors are answered with their text alone."""

    def handlers(self) -> list[Handler]:
        """Return a handler for each method."""
        return [
            handle(method.operation, method.__get__(self), has_details=self.has_details)
            for method in vars(type(self)).values()
            if isinstance(method, Method)
        ]


def answers[Owner: Handlers, Request: Shape, Answer](
    operation: Operation[Request, Answer],
) -> Callable[[Callable[[Owner, Request], _Found[Answer]]], Method[Owner, Request, Answer]]:
    """Let a method of `Handlers` answer the requests of an operation, as `handle` does."""
    return partial(Method, operation)

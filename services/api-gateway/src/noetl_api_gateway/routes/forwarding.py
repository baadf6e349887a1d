"""Routes that read a request, forward it to one service and pass its answer on.

`forward` makes the handler of such a route from its path, the operation, and a function that
builds the operation's request. Other routes have a handler of their own.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, NotRequired, TypedDict, Unpack, overload

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import Guard
from noetl_contract.access.rights import Right
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Shape
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.registry import all_operations
from pydantic import BaseModel

from noetl_api_gateway.access.gatekeeper import demand
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_fields, path_names, query_fields
from noetl_api_gateway.http.openapi import TypeForm, documented
from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.http.shell import is_browser
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.upstream.services import Limit, Services

_HANDLERS: dict[str, type[get | post | put | delete]] = {
    "GET": get,
    "POST": post,
    "PUT": put,
    "DELETE": delete,
}
_ANYWHERE: Literal["anywhere"] = "anywhere"
type Shown = Callable[[AnyRequest, Gateway, bytes], Awaitable[Json]]
_HOMES = ("execution_id", "subscription_id")


class Sent[Body]:
    """A request whose path, query and body were read."""

    __slots__ = ("_body", "_fields", "request")

    def __init__(self, request: AnyRequest, fields: JsonObject, body: Body | None) -> None:
        self.request = request
        self._body = body
        self._fields = fields

    @property
    def body(self) -> Body:
        """The decoded body, of a route that has one."""
        if self._body is None:
            raise TypeError("the route reads no body")
        return self._body

    @property
    def home(self) -> int | None:
        """The execution or subscription that path or query names: its shard answers."""
        return next((self._fields[name] for name in _HOMES if name in self._fields), None)

    def id(self, name: str = "execution_id") -> int:
        """Return an id of the path."""
        number: int = self._fields[name]
        return number

    def word(self, name: str) -> str:
        """Return a text of the path, or of the query where it must be.

        Raises:
            Refusal: 400, the parameter is not there.
        """
        text = self.text(name)
        if text is None:
            raise bad_query(f"missing field `{name}`")
        return text

    @overload
    def text(self, name: str) -> str | None: ...
    @overload
    def text(self, name: str, default: str) -> str: ...
    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a text of the query."""
        value: str | None = self._fields[name]
        return default if value is None else value

    @overload
    def number(self, name: str) -> int | None: ...
    @overload
    def number(self, name: str, default: int) -> int: ...
    def number(self, name: str, default: int | None = None) -> int | None:
        """Return an integer of the query."""
        value: int | None = self._fields[name]
        return default if value is None else value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean of the query."""
        value: bool | None = self._fields[name]
        return default if value is None else value


@dataclass(frozen=True, slots=True)
class Needs[Body]:
    """Rights that a route needs.

    Attributes:
        right: the right.
        is_whole: the answer is about all namespaces, and for callers only that reach them all.
        also: a second right that this very request needs.
    """

    right: Right
    is_whole: bool = False
    also: Callable[[Sent[Body]], Right | None] = lambda _sent: None

    async def demand(self, sent: Sent[Body]) -> None:
        """Check the second right.

        Raises:
            Refusal: 403, it is missing.
        """
        more = self.also(sent)
        if more is not None:
            await demand(sent.request, more)


class RouteDocument(TypedDict):
    """Description of a route in the OpenAPI document.

    Attributes:
        summary: one line for the reader.
        tags: groups of the document.
        description: one sentence more; the operation's summary if there is no other.
        errors: texts of typical refusals, by status.
        is_documented: whether the document has the route.
    """

    summary: str
    tags: Sequence[str]
    description: NotRequired[str]
    errors: NotRequired[Mapping[int, str]]
    is_documented: NotRequired[bool]


def forward[Body: BaseModel, Request: Shape, Answer](
    method: Literal["GET", "POST", "PUT", "DELETE"],
    path: str | Sequence[str],
    operation: Operation[Request, Answer],
    build: Callable[[Sent[Body]], Request],
    *,
    name: str,
    needs: Right | Needs[Body],
    body: type[Body] | None = None,
    query: Mapping[str, tuple[TypeForm, str]] | None = None,
    guards: Sequence[Guard] = (),
    within: Limit = "usual",
    write: str | None = None,
    is_anywhere: bool = False,
    for_pages: Shown | None = None,
    **document: Unpack[RouteDocument],
) -> HTTPRouteHandler:
    """Return the handler of a route; the shard of its ``home`` answers.

    Args:
        method: HTTP method.
        path: path, or all paths of the route.
        operation: the operation that answers; its answer is the 2xx body.
        build: builds the operation's request.
        name: name of the handler, from which the OpenAPI document's operation id is made.
        needs: the right that a caller must have.
        body: model of the body.
        query: type and meaning of each query parameter.
        guards: checks before path and body are looked at.
        within: timeouts.
        write: label in the metrics of writes; None for routes that are not measured.
        is_anywhere: ask one shard after the other, since the id says nothing about its shard.
        for_pages: adds to the answer what web pages show.
        document: how the OpenAPI document shows the route.
    """
    in_path, in_query = path_names(path if isinstance(path, str) else path[0]), query or {}
    wants = needs if isinstance(needs, Needs) else Needs(needs)

    async def handle(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
        sent = await _sent(request, in_path, in_query, body, wants)
        wanted, home = build(sent), _ANYWHERE if is_anywhere else sent.home
        with measured(write) if write else nullcontext():
            answer = await _forwarded(gateway.services, operation, wanted, home, within)
        return json_answer(request, await _shown(for_pages, request, gateway, answer))

    handle.__name__ = name
    handler: HTTPRouteHandler = _HANDLERS[method](
        path,
        status_code=200,
        opt={"needs": wants.right, "whole": wants.is_whole},
        guards=list(guards),
        summary=document["summary"],
        description=document.get("description") or all_operations()[operation],
        tags=list(document["tags"]),
        include_in_schema=document.get("is_documented", True),
        operation_class=documented(
            body, operation.answer, path=in_path, query=in_query, errors=document.get("errors")
        ),
    )(handle)
    return handler


async def _shown(
    for_pages: Shown | None, request: AnyRequest, gateway: Gateway, answer: bytes
) -> Json:
    if for_pages is None or not is_browser(request.scope):
        return answer
    return await for_pages(request, gateway, answer)


async def _sent[Body: BaseModel](
    request: AnyRequest,
    in_path: Sequence[str],
    in_query: Mapping[str, tuple[TypeForm, str]],
    model: type[Body] | None,
    wants: Needs[Body],
) -> Sent[Body]:
    """Read a request, and check the second right that it may need."""
    fields = path_fields(request, in_path) | query_fields(request.query_params, in_query)
    sent = Sent(request, fields, None if model is None else await read_body(request, model))
    await wants.demand(sent)
    return sent


async def _forwarded[Request: Shape, Answer](
    services: Services,
    operation: Operation[Request, Answer],
    wanted: Request,
    home: int | Literal["anywhere"] | None,
    within: Limit,
) -> bytes:
    if home == _ANYWHERE:
        return await services.forward_anywhere(operation, wanted)
    return await services.forward(operation, wanted, execution_id=home, within=within)


@contextmanager
def measured(label: str) -> Iterator[None]:
    """Count a write, and measure its duration."""
    started = perf_counter()
    outcome = "error"
    try:
        yield
        outcome = "ok"
    finally:
        WRITES.labels(label, outcome).inc()
        WRITE_DURATION.labels(label).observe(perf_counter() - started)

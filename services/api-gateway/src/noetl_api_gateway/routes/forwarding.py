"""Declaration of routes, and the routes that forward a request to one service.

`Topic.forward` declares a route that passes one service's answer on, by path, operation and a
function that builds the operation's request. Other routes have a handler of their own, which
`Topic.route` decorates. All routes of a module that has a `TOPIC` are served.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, NotRequired, TypedDict, Unpack, overload

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
from noetl_api_gateway.http.refusals import Refusal, bad_query
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
type Bodies = Literal["usual", "result", "batch", "delivery"]
type Shown = Callable[[AnyRequest, Gateway, bytes], Awaitable[Json]]
UNKNOWN_EXECUTION = {404: "Execution not found: 325077236512452608"}
"""Typical refusal of routes that name an execution."""
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


class RouteTerms(TypedDict):
    """Further terms of a route.

    Attributes:
        summary: one line for the reader of the OpenAPI document.
        description: one sentence more; of a forwarded route the operation's summary if there is no
            other, of a handler its docstring.
        query: type and meaning of each query parameter.
        errors: texts of typical refusals, by status.
        also: a second path of the route.
        guards: checks before path and body are looked at, besides those of the topic.
        is_documented: whether the OpenAPI document has the route.
        bodies: the limit of its bodies, which is a setting.
    """

    summary: str
    description: NotRequired[str]
    query: NotRequired[Mapping[str, tuple[TypeForm, str]]]
    errors: NotRequired[Mapping[int, str]]
    also: NotRequired[str]
    guards: NotRequired[Sequence[Guard]]
    is_documented: NotRequired[bool]
    bodies: NotRequired[Bodies]


@dataclass(frozen=True, slots=True)
class Topic:
    """Routes of one topic, and what all of them in a module have in common.

    Attributes:
        tag: group of the OpenAPI document.
        guards: checks before path and body are looked at.
        errors: texts of refusals that each of the routes may answer with, by status.
        routes: those declared so far, by the limit of their bodies.
    """

    tag: str
    guards: Sequence[Guard] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    routes: dict[Bodies, list[HTTPRouteHandler]] = field(default_factory=dict)

    def route(
        self,
        place: str,
        answer: TypeForm,
        *,
        needs: Right | Needs[Any],
        body: TypeForm = None,
        is_body_required: bool = True,
        others: Mapping[int, TypeForm] | None = None,
        status: int = 200,
        content_type: str = "application/json",
        **terms: Unpack[RouteTerms],
    ) -> HTTPRouteHandler:
        """Return the decorator of a handler, which reads the body and answers by itself.

        Args:
            place: method and path, as `GET /api/threads`.
            answer: model, or other type, of the answer's body.
            needs: the right that a caller must have.
            body: model, or other type, of the request body; None when there is none.
            is_body_required: whether the route wants a body.
            others: types of bodies that other statuses than success and refusals have.
            status: status of the answer.
            content_type: of the answer.
            terms: further terms.
        """
        method, _, path = place.partition(" ")
        wants = needs if isinstance(needs, Needs) else Needs(needs)
        handler: HTTPRouteHandler = _HANDLERS[method](
            [path, terms["also"]] if "also" in terms else path,
            status_code=status,
            opt={"needs": wants.right, "whole": wants.is_whole},
            guards=[*self.guards, *terms.get("guards", ())],
            summary=terms["summary"],
            description=terms.get("description"),
            tags=[self.tag],
            include_in_schema=terms.get("is_documented", True),
            operation_class=documented(
                body,
                answer,
                content_type=content_type,
                path=path_names(path),
                query=terms.get("query"),
                errors={**self.errors, **terms.get("errors", {})},
                others=others,
                is_body_required=is_body_required,
                success=status,
            ),
        )
        self.routes.setdefault(terms.get("bodies", "usual"), []).append(handler)
        return handler

    def forward[Body: BaseModel, Request: Shape, Answer](
        self,
        place: str,
        operation: Operation[Request, Answer],
        build: Callable[[Sent[Body]], Request],
        *,
        name: str,
        needs: Right | Needs[Body],
        body: type[Body] | None = None,
        within: Limit = "usual",
        write: str | None = None,
        is_anywhere: bool = False,
        for_pages: Shown | None = None,
        **terms: Unpack[RouteTerms],
    ) -> None:
        """Declare a route that one service answers: the shard of its ``home``.

        Args:
            place: method and path, as `GET /api/vars/{execution_id:str}`.
            operation: the operation that answers; its answer is the 2xx body.
            build: builds the operation's request.
            name: name of the handler, from which the OpenAPI document's operation id is made.
            needs: the right that a caller must have.
            body: model of the body.
            within: timeouts.
            write: label in the metrics of writes; None for routes that are not measured.
            is_anywhere: ask one shard after the other, since the id says nothing about its shard.
            for_pages: adds to the answer what web pages show.
            terms: further terms.
        """
        in_path, in_query = path_names(place), terms.get("query") or {}
        wants = needs if isinstance(needs, Needs) else Needs(needs)

        async def handle(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
            sent = await _sent(request, in_path, in_query, body, wants)
            wanted, home = build(sent), _ANYWHERE if is_anywhere else sent.home
            with measured(write) if write else nullcontext():
                answer = await _forwarded(gateway.services, operation, wanted, home, within)
            return json_answer(request, await _shown(for_pages, request, gateway, answer))

        handle.__name__ = name
        terms.setdefault("description", all_operations()[operation])
        self.route(place, operation.answer, needs=wants, body=body, **terms)(handle)

    def refuse(
        self, place: str, status: int, text: str, *, needs: Right, allow: str | None = None
    ) -> None:
        """Declare a route that clients ask for and this server doesn't have, in no document.

        Args:
            place: method and path.
            status: of the refusal.
            text: its reason.
            needs: the right without which a caller hears of that instead.
            allow: methods that the path has, for 405.
        """

        async def refused() -> None:
            raise Refusal(status, text, headers=None if allow is None else {"allow": allow})

        self.route(place, None, needs=needs, summary=text, is_documented=False)(refused)


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

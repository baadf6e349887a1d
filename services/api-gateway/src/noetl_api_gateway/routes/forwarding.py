"""Routes that read a request, ask one service once and pass its answer on, as rows of a table.

A row says everything: path, parameters, model of the body, operation, texts of the description.
`forwarding` makes one handler of it. What a row can't say needs a handler of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import Guard
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.operation import Operation
from pydantic import BaseModel

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import present, read_body
from noetl_api_gateway.http.fields import path_fields, path_names, query_flag, query_int, query_text
from noetl_api_gateway.http.openapi import TypeForm, documented
from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.upstream.services import body_of

type Method = Literal["GET", "POST", "PUT", "DELETE"]

_HANDLERS: dict[Method, type[get | post | put | delete]] = {
    "GET": get,
    "POST": post,
    "PUT": put,
    "DELETE": delete,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter: read, and described, by its type."""

    kind: type[str | int | bool]
    meaning: str
    default: str | int | bool | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One route.

    Attributes:
        method: HTTP method.
        path: path, or all paths of the route.
        name: name of the handler, from which the OpenAPI document's operation id is made.
        operation: the operation that answers.
        answer: type of the 2xx body.
        summary: one line for the reader of the document.
        description: one sentence more.
        tags: groups of the document.
        body: model of the body; its fields are sent.
        query: parameters; those that are absent are not sent.
        prepare: last changes to the fields that are sent.
        shard_by: field with the id of the execution whose shard answers.
        guards: checks before path and body are looked at.
        errors: texts of typical refusals, by status.
        waits_longer: whether the service may wait for other systems in its turn.
        write: label in the metrics of writes; None for routes that are not measured.
    """

    method: Method
    path: str | Sequence[str]
    name: str
    operation: Operation[Any, Any]
    answer: TypeForm
    summary: str
    description: str
    tags: Sequence[str]
    body: type[BaseModel] | None = None
    query: Mapping[str, Query] = field(default_factory=dict)
    prepare: Callable[[JsonObject], JsonObject] | None = None
    shard_by: str | None = None
    guards: Sequence[Guard] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    waits_longer: bool = False
    write: str | None = None


def forwarding(*rows: Forward) -> list[HTTPRouteHandler]:
    """Return the handlers of the rows."""
    return [_handler(row) for row in rows]


def _handler(row: Forward) -> HTTPRouteHandler:
    paths = [row.path] if isinstance(row.path, str) else list(row.path)
    in_path = path_names(paths[0])

    async def forward(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
        wanted = path_fields(request, in_path) | query_fields(request, row.query)
        if row.body is not None:
            wanted = present(await read_body(request, row.body)) | wanted
        if row.prepare is not None:
            wanted = row.prepare(wanted)
        return json_answer(request, await _answered(gateway, row, wanted))

    forward.__name__ = row.name
    forward.__doc__ = row.description
    handler: HTTPRouteHandler = _HANDLERS[row.method](
        paths,
        status_code=200,
        guards=list(row.guards),
        summary=row.summary,
        description=row.description,
        tags=list(row.tags),
        operation_class=documented(
            row.body,
            row.answer,
            path=in_path,
            query=described(row.query),
            errors=row.errors,
        ),
    )(forward)
    return handler


def described(parameters: Mapping[str, Query]) -> dict[str, tuple[type, str]]:
    """Return the types and meanings of query parameters, for the OpenAPI document."""
    return {name: (one.kind, one.meaning) for name, one in parameters.items()}


def query_fields(request: AnyRequest, parameters: Mapping[str, Query]) -> JsonObject:
    """Return the parameters that are there, or have a default.

    Raises:
        Refusal: 400 with the contract's text.
    """
    query = request.query_params
    fields: JsonObject = {}
    for name, parameter in parameters.items():
        value: str | int | bool | None
        if parameter.kind is bool:
            value = query_flag(query, name, default=bool(parameter.default))
        else:
            value = query_int(query, name) if parameter.kind is int else query_text(query, name)
        if value is None and parameter.is_required:
            raise bad_query(f"missing field `{name}`")
        value = parameter.default if value is None else value
        if value is not None:
            fields[name] = value
    return fields


async def _answered(gateway: Gateway, row: Forward, wanted: JsonObject) -> Json:
    if row.write is None:
        return body_of(await _asked(gateway, row, wanted))
    started = perf_counter()
    outcome = "error"
    try:
        body = body_of(await _asked(gateway, row, wanted))
        outcome = "ok"
    finally:
        WRITES.labels(row.write, outcome).inc()
        WRITE_DURATION.labels(row.write).observe(perf_counter() - started)
    return body


async def _asked(gateway: Gateway, row: Forward, wanted: JsonObject) -> RpcReply:
    """Send the request: the one place that reads the operation of a row."""
    services, name = gateway.services, row.operation.name
    execution_id = None if row.shard_by is None else int(wanted[row.shard_by])
    match row.operation.service:
        case "catalog" if row.waits_longer:
            return await services.secret(name, wanted)
        case "catalog":
            return await services.catalog(name, wanted)
        case "projector":
            return await services.projector(name, wanted, execution_id=execution_id)
        case "orchestrator":
            return await services.orchestrator(name, wanted, execution_id=execution_id)
        case _:
            raise NotImplementedError(row.operation.service)

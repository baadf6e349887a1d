"""Descriptions of bodies that handlers read themselves, for the OpenAPI document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
)
from noetl_contract.errors import ErrorBody
from noetl_contract.json import Json, JsonObject
from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from litestar.openapi.spec.schema import Schema


type TypeForm = Any
"""A model, or another type that pydantic describes, such as `list[Model]`."""

_UNAVAILABLE = "The catalog service did not answer in time"
_BAD_BODY = {
    400: "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0",
    413: "Failed to buffer the request body: length limit exceeded",
    415: "Expected request with `Content-Type: application/json`",
    422: "Failed to deserialize the JSON body into the target type: missing field `name`"
    " at line 1 column 2",
}
_BAD_QUERY = {400: "Failed to deserialize query string: limit: invalid digit found in string"}
_BAD_PATH = {400: "Invalid URL: Cannot parse `abc` to a `i64`"}

_I64: JsonObject = {
    "type": "integer",
    "format": "int64",
    "minimum": -(1 << 63),
    "maximum": (1 << 63) - 1,
}
_WORD: JsonObject = {"type": "string", "minLength": 1}
_PATH_PARAMETERS: dict[str, tuple[JsonObject, str, Json]] = {
    "execution_id": (_I64, "the execution's id", 325077236512452608),
    "catalog_id": (_I64, "the catalog entry's id", 321000000000000001),
    "event_id": (_I64, "the event's id", 325077236516646912),
    "request_id": (_I64, "id of the batch: that of one of its events", 325077260000000001),
    "schedule_id": (_I64, "the schedule's id", 325077250000000001),
    "subscription_id": (_I64, "the subscription's id", 325077250000000001),
    "playbook_id": (_WORD, "catalog id of a version, or the path of all of them", "demo/hello"),
    "suite_id": (_WORD, "id of a suite of tests; it may have slashes", "demo/hello"),
    "path": (_WORD, "path of the entry with `/ui_schema` behind it", "demo/hello/ui_schema"),
    "identifier": (_WORD, "the credential's id or name", "pg_k8s"),
    "keychain_name": (_WORD, "name of the keychain entry", "amadeus_token"),
    "var_name": (_WORD, "name of the variable", "user_id"),
    "name": (_WORD, "name of the result, mostly a step's", "fetch"),
    "step_name": (_WORD, "name of the step", "fetch"),
    "step": (_WORD, "name of the step", "train"),
    "signal": (_WORD, "name of the signal", "approve"),
    "wait": (_WORD, "id of the wait, or name of its step", "review"),
    "link": (_WORD, "the text of the link", "eyJlIjoz.c2lnbg"),
    "pool": (_WORD, "name of the pool", "shared"),
    "listener": (_WORD, "last segment of the listener's gateway path", "orders"),
    "key_id": (_WORD, "id of the API key", "5f0c17a2b9d4"),
    "digest": (_WORD, "digest of the step's requirements", "65070738c1f2"),
    "grant_id": (_WORD, "id of the grant", "325077236512452608"),
    "action": (
        {"type": "string", "enum": ["activate", "pause", "resume", "drain", "deactivate"]},
        "what is to become of the subscription",
        "activate",
    ),
}


class StreamedEvent(BaseModel):
    """One event of a stream; `data` is JSON on one line."""

    event: str | None = None
    id: str | None = None
    data: str | None = None
    retry: int | None = None


def documented(
    body: TypeForm,
    answer: TypeForm,
    *,
    content_type: str = "application/json",
    path: Sequence[str] = (),
    query: Mapping[str, tuple[TypeForm, str]] | None = None,
    errors: Mapping[int, str] | None = None,
    others: Mapping[int, TypeForm] | None = None,
    is_body_required: bool = True,
    success: int = 200,
) -> type[Operation]:
    """Return an operation class that describes a route's bodies.

    Handlers decode bodies by the models themselves, for the contract's texts, so the framework
    can't see the models.

    Args:
        body: model, or other type, of the request body; None when there is none.
        answer: model, or other type, of the 200 body.
        content_type: of the answer.
        path: parameters of the path, where the handler does not declare them.
        query: type and meaning of each query parameter.
        errors: the text of a typical refusal, by status. Added are 503, since every service may
            be away, and what bodies, queries and paths are refused with everywhere.
        others: types of bodies that other statuses than success and refusals have.
        is_body_required: whether the route wants a body.
        success: status of the answer.
    """
    common = {503: _UNAVAILABLE}
    common |= _BAD_QUERY if query else {}
    common |= {} if body is None else _BAD_BODY

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(
                    content={"application/json": _media(body)}, required=is_body_required
                )
            declared = [
                found.name for found in self.parameters or () if isinstance(found, Parameter)
            ]
            in_path = [_in_path(name) for name in path or declared]
            refusals = (_BAD_PATH if in_path else {}) | common | dict(errors or {})
            if in_path or query:
                self.parameters = [*in_path, *_parameters(query or {})]
            self.responses = {
                str(success): _answer("Done", content_type, answer),
                **{str(status): _refusal(status, refusals[status]) for status in sorted(refusals)},
                **{
                    str(status): _answer("Another answer", content_type, kind)
                    for status, kind in (others or {}).items()
                },
            }

    return Documented


def error_example(status: int, text: str) -> JsonObject:
    """Return the body of a refusal as clients see it."""
    return {"error": text, "status": status, "detail": text}


def inlined_schema(kind: TypeForm) -> JsonObject:
    """Return the JSON schema of a type with its references inlined."""
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.pop("$defs", {})
    return cast("JsonObject", _inlined(schema, definitions))


def _parameters(query: Mapping[str, tuple[TypeForm, str]]) -> list[Parameter]:
    return [
        Parameter(
            name=name,
            param_in="query",
            required=False,
            description=meaning,
            schema=cast("Schema", inlined_schema(kind)),
        )
        for name, (kind, meaning) in query.items()
    ]


def _in_path(name: str) -> Parameter:
    """Describe a path parameter, which is only text for the framework."""
    schema, meaning, example = _PATH_PARAMETERS[name]
    return Parameter(
        name=name,
        param_in="path",
        required=True,
        description=meaning,
        schema=cast("Schema", dict(schema)),
        example=example,
    )


def _answer(description: str, content_type: str, kind: TypeForm) -> OpenAPIResponse:
    return OpenAPIResponse(description=description, content={content_type: _media(kind)})


def _refusal(status: int, text: str) -> OpenAPIResponse:
    media = OpenAPIMediaType(
        schema=cast("Schema", inlined_schema(ErrorBody)), example=error_example(status, text)
    )
    return OpenAPIResponse(description=text, content={"application/json": media})


def _media(kind: TypeForm) -> OpenAPIMediaType:
    # The framework's own classes cannot say all that a schema may; it passes mappings through.
    media = OpenAPIMediaType(schema=cast("Schema", inlined_schema(kind)))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        extra = kind.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and isinstance(examples := extra.get("examples"), list):
            media.example = next(iter(examples), None)
    return media


def _inlined(value: Json, definitions: JsonObject) -> Json:
    match value:
        case {"$ref": str(reference)}:
            return _inlined(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {key: _inlined(item, definitions) for key, item in value.items()}
        case list():
            return [_inlined(item, definitions) for item in value]
        case _:
            return value

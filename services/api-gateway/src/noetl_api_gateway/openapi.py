"""Descriptions of bodies that handlers read themselves, for the OpenAPI document."""

from collections.abc import Mapping
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
from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from litestar.openapi.spec.schema import Schema

__all__ = ["documented", "error_example", "inlined_schema"]

type Json = Any

_UNAVAILABLE = "The catalog service did not answer in time"


def documented(
    body: Any,
    answer: Any,
    *,
    content_type: str = "application/json",
    query: Mapping[str, tuple[Any, str]] | None = None,
    errors: Mapping[int, str] | None = None,
    others: Mapping[int, Any] | None = None,
    is_body_required: bool = True,
    success: int = 200,
) -> type[Operation]:
    """Return an operation class that describes a route's bodies.

    Handlers take their bodies apart themselves, for the contract's texts and for speed, so the
    framework can't see the models.

    Args:
        body: model, or other type, of the request body; None when there is none.
        answer: model, or other type, of the 200 body.
        content_type: of the answer.
        query: type and meaning of each query parameter.
        errors: the text of a typical refusal, by status; 503 is added, since every service
            may be away.
        others: types of bodies that other statuses than success and refusals have.
        is_body_required: whether the route wants a body.
        success: status of the answer.
    """
    refusals = {503: _UNAVAILABLE} | dict(errors or {})

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(
                    content={"application/json": _media(body)}, required=is_body_required
                )
            if query:
                self.parameters = [*(self.parameters or []), *_parameters(query)]
            self.responses = {
                str(success): OpenAPIResponse(
                    description="Done", content={content_type: _media(answer)}
                ),
                **{str(status): _refusal(status, refusals[status]) for status in sorted(refusals)},
                **{
                    str(status): OpenAPIResponse(
                        description="Another answer", content={content_type: _media(kind)}
                    )
                    for status, kind in (others or {}).items()
                },
                "default": OpenAPIResponse(
                    description="Refused", content={"application/json": _media(ErrorBody)}
                ),
            }

    return Documented


def error_example(status: int, text: str) -> dict[str, Json]:
    """Return the body of a refusal as clients see it."""
    return {"error": text, "status": status, "detail": text}


def inlined_schema(kind: Any) -> dict[str, Json]:
    """Return the JSON schema of a type with its references replaced by what they name."""
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.pop("$defs", {})
    return cast("dict[str, Json]", _inlined(schema, definitions))


def _parameters(query: Mapping[str, tuple[Any, str]]) -> list[Parameter]:
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


def _refusal(status: int, text: str) -> OpenAPIResponse:
    media = OpenAPIMediaType(
        schema=cast("Schema", inlined_schema(ErrorBody)), example=error_example(status, text)
    )
    return OpenAPIResponse(description=text, content={"application/json": media})


def _media(kind: Any) -> OpenAPIMediaType:
    # The framework's own classes cannot say all that a schema may; it passes mappings through.
    media = OpenAPIMediaType(schema=cast("Schema", inlined_schema(kind)))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        extra = kind.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and isinstance(examples := extra.get("examples"), list):
            media.example = next(iter(examples), None)
    return media


def _inlined(value: Json, definitions: dict[str, Json]) -> Json:
    match value:
        case {"$ref": str(reference)}:
            return _inlined(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {key: _inlined(item, definitions) for key, item in value.items()}
        case list():
            return [_inlined(item, definitions) for item in value]
        case _:
            return value

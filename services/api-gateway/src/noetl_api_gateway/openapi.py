"""Descriptions of bodies that handlers read themselves, for the OpenAPI document."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody
from noetl_contract.errors import ErrorBody
from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from litestar.openapi.spec.schema import Schema

__all__ = ["documented", "inlined_schema"]

type Json = Any


def documented(
    body: type[BaseModel] | None, answer: Any, *, content_type: str = "application/json"
) -> type[Operation]:
    """Return an operation class that describes a route's bodies.

    Handlers take their bodies apart themselves, for the contract's texts and for speed, so the
    framework can't see the models.

    Args:
        body: model of the request body; None when there is none.
        answer: model, or other type, of the 200 body.
        content_type: of the answer.
    """

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(
                    content={"application/json": _media(body)}, required=True
                )
            self.responses = {
                "200": OpenAPIResponse(description="Done", content={content_type: _media(answer)}),
                "default": OpenAPIResponse(
                    description="Refused", content={"application/json": _media(ErrorBody)}
                ),
            }

    return Documented


def inlined_schema(kind: Any) -> dict[str, Json]:
    """Return the JSON schema of a type with its references replaced by what they name."""
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.pop("$defs", {})
    return cast("dict[str, Json]", _inlined(schema, definitions))


def _media(kind: Any) -> OpenAPIMediaType:
    # The framework's own classes cannot say all that a schema may; it passes mappings through.
    return OpenAPIMediaType(schema=cast("Schema", inlined_schema(kind)))


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

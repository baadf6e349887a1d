"""Base classes of messages: structs between processes, models for bodies of clients."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self, dataclass_transform

import msgspec
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from noetl_contract.json import Json, JsonObject


class _Meta(msgspec.StructMeta):
    """Gives every struct the options of the base, which are not all inherited otherwise."""

    def __new__(  # noqa: PYI034 -- makes classes, not itself
        cls, name: str, bases: tuple[type, ...], namespace: JsonObject, **options: Any
    ) -> "_Meta":
        base = {"frozen": True, "kw_only": True, "omit_defaults": True}
        return super().__new__(cls, name, bases, namespace, **{**base, **options})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, metaclass=_Meta):
    """Base of messages between processes.

    It is checked where it is decoded, and built unchecked. Fields with their default are left out,
    unless only a comparison would show that, and unknown ones are ignored, so that two releases
    can live side by side.
    """

    def but(self, **changes: Json) -> Self:
        """Return a copy with other values of some fields."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Decode what `to_json` wrote, in this release or another.

        Raises:
            ValueError: it is no JSON or has the wrong shape.
        """
        found: Self = decode(_decoder(cls), data)
        return found

    def to_json(self) -> bytes:
        """Encode it; free JSON may hold ``msgspec.Raw``, which is JSON already.

        Raises:
            ValueError: a text in it is not Unicode (a lone surrogate).
            TypeError: a value in it is not JSON.
        """
        return _ENCODER.encode(self)

    def plain(self) -> JsonObject:
        """Return it as JSON values, without fields that have their default."""
        found: JsonObject = msgspec.to_builtins(self, enc_hook=_builtins)
        return found

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema with which models may hold it, for bodies passed on as sent."""
        del source, handler

        def read(value: object) -> Struct:
            if isinstance(value, cls):
                return value
            return msgspec.convert(value, cls)

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                Struct.plain, return_schema=core_schema.dict_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonObject:
        """Return its JSON Schema, with all that it names in it."""
        del schema, handler
        _, parts = msgspec.json.schema_components([cls])
        found: JsonObject = _inlined(parts[cls.__name__], parts)
        return found


def decode[Found](decoder: msgspec.json.Decoder[Found], data: bytes) -> Found:
    """Decode JSON.

    Raises:
        ValueError: it is not of the decoder's type, or nested too deep.
    """
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


_ENCODER = msgspec.json.Encoder()


@cache
def _decoder[Found: Struct](shape: type[Found]) -> msgspec.json.Decoder[Found]:
    return msgspec.json.Decoder(shape)


def _builtins(value: object) -> Json:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _inlined(schema: Json, parts: Mapping[str, Json]) -> Json:
    if isinstance(schema, list):
        return [_inlined(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(value, parts) for key, value in schema.items()}


class Model(BaseModel):
    """A frozen shape that ignores unknown fields, so that newer senders may add some."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")


type Shape = BaseModel | Struct
"""A shape that a request may have."""


class SecretModel(Model):
    """A model whose errors never quote the input, because it may hold secrets."""

    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)


def example(**fields: Json) -> ConfigDict:
    """Return the configuration that shows an example in the generated documents."""
    return ConfigDict(json_schema_extra={"examples": [fields]})

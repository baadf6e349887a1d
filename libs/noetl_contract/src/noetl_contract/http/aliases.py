"""Base model for bodies whose fields have an old and a new name."""

from pydantic import AliasChoices, BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = ["Aliased"]


class Aliased(BaseModel):
    """A body with fields of two names; its schema describes both and requires neither."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        """Add the other names to the schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        properties = schema["properties"]
        for field in cls.model_fields.values():
            if isinstance(field.validation_alias, AliasChoices):
                first, *others = map(str, field.validation_alias.choices)
                for other in others:
                    text = f"other name of `{first}`"
                    properties[other] = {**properties[first], "title": other, "description": text}
                if first in schema.get("required", []):
                    schema["required"].remove(first)
        return schema

"""Bases of the models that travel between processes."""

from collections.abc import Callable
from functools import cache

from pydantic import BaseModel, ConfigDict

from noetl_contract.json import Json, JsonObject


class Model(BaseModel):
    """A frozen shape that ignores unknown fields, so that newer senders may add some."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")


class SecretModel(Model):
    """A model whose errors never quote the input, because it may hold secrets."""

    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)


def example(**fields: Json) -> ConfigDict:
    """Return the configuration that shows an example in the generated documents."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def unchecked[**Fields, M: BaseModel](
    model: Callable[Fields, M], *_positional: Fields.args, **values: Fields.kwargs
) -> M:
    """Build a model from values that were validated, as reports of workers are at the edge.

    Four times as fast as ``model_construct``, which looks for aliases and extras.
    """
    if not isinstance(model, type):
        raise TypeError(f"{model} is no model")
    defaults, names = _fields_of(model)
    return filled(model, {**defaults, **values}, names)


def filled[M: BaseModel](model: type[M], values: JsonObject, given: set[str]) -> M:
    """Build a model of all its values, which are known to be right; some of them were given."""
    made = model.__new__(model)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", given)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


_set = object.__setattr__  # the models are frozen


@cache
def _fields_of(model: type[BaseModel]) -> tuple[JsonObject, set[str]]:
    defaults = {name: field.default for name, field in model.model_fields.items()}
    return defaults, set(defaults)

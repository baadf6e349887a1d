"""Bases of the models that travel between processes."""

from pydantic import BaseModel, ConfigDict

from noetl_contract.json import Json


class Model(BaseModel):
    """A frozen shape that ignores unknown fields, so that newer senders may add some."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")


class SecretModel(Model):
    """A model whose errors never quote the input, because it may hold secrets."""

    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)


def example(**fields: Json) -> ConfigDict:
    """Return the configuration that shows an example in the generated documents."""
    return ConfigDict(json_schema_extra={"examples": [fields]})

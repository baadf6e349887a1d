"""`/api/vars/*`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from noetl_contract.http.moments import Rfc3339
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model, example

VAR_TYPES = frozenset({"user_defined", "step_result", "computed", "iterator_state"})


class NewVar(Model):
    """A variable to write; its value is any JSON and may be null."""

    var_name: str
    var_value: Any
    var_type: str = "user_defined"
    source_step: str | None = None


class VarsRequest(Model):
    """Variables to write; a map of names to values is taken too, bare or as `variables`."""

    model_config = example(
        variables=[
            {"var_name": "user_id", "var_value": 999},
            {"var_name": "score", "var_value": 85, "var_type": "computed", "source_step": "start"},
        ]
    )

    var_type: str = Field(default="user_defined", description="where `variables` is a map")
    source_step: str | None = Field(default=None, description="where `variables` is a map")
    variables: list[NewVar]

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Json) -> Json:
        """List the variables of the other two forms: a map in `variables`, or the bare map."""
        if not isinstance(value, dict) or not value:
            return value
        if "variables" not in value:
            return {"variables": _listed(value)}
        variables = value["variables"]
        if isinstance(variables, dict):
            shared = {name: value[name] for name in ("var_type", "source_step") if name in value}
            texts = {name: item for name, item in shared.items() if isinstance(item, str)}
            return shared | {"variables": _listed(variables, **texts)}
        return {"variables": variables}


def _listed(values: JsonObject, **shared: str) -> list[JsonObject]:
    return [{"var_name": name, "var_value": value, **shared} for name, value in values.items()]


class VarEntry(Model):
    """One variable of an execution."""

    model_config = example(
        var_name="user_id",
        var_type="user_defined",
        var_value=999,
        source_step=None,
        created_at="2026-06-15T12:00:00.123456Z",
        accessed_at="2026-06-15T12:00:00.123456Z",
        access_count=0,
    )

    var_name: str
    var_type: str
    var_value: Any
    source_step: str | None
    created_at: Rfc3339
    accessed_at: Rfc3339
    access_count: int


class VarsSetAnswer(Model):
    """Number of variables written."""

    execution_id: int | str
    status: Literal["ok"]
    variables_set: int


class VarDeletedAnswer(Model):
    """The deleted variable."""

    execution_id: int | str
    var_name: str
    status: Literal["deleted"]


class VarsDeletedAnswer(Model):
    """Number of variables deleted."""

    execution_id: int | str
    status: Literal["ok"]
    variables_deleted: int

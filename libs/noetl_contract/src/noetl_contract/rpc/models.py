"""Base settings of request models, and the empty request."""

from pydantic import BaseModel, ConfigDict

__all__ = ["MODEL", "SECRET_MODEL", "Nothing"]

MODEL = ConfigDict(frozen=True, extra="ignore")
SECRET_MODEL = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
"""Errors of these models must not quote what was sent."""


class Nothing(BaseModel):
    """A request without parameters."""

    model_config = MODEL

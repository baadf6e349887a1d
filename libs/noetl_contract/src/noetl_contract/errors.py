"""The body of every HTTP error."""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["ErrorBody"]


class ErrorBody(BaseModel):
    """``{"error", "status", "detail"}``: text, HTTP status, and structured detail if any."""

    model_config = ConfigDict(frozen=True)

    error: str
    status: int
    detail: Any = None

"""The body of every HTTP error."""

from pydantic import BaseModel, ConfigDict

from noetl_contract.json import Json


class ErrorBody(BaseModel):
    """``{"error", "status", "detail"}``: text, HTTP status, and structured detail if any."""

    model_config = ConfigDict(frozen=True)

    error: str
    status: int
    detail: Json = None

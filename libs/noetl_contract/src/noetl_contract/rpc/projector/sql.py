"""Operations of the projector that run SQL."""

from pydantic import BaseModel, ConfigDict, Field

from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.json import Json
from noetl_contract.rpc.models import SECRET_MODEL
from noetl_contract.rpc.operation import Operation

__all__ = [
    "SESSIONS_VALIDATE",
    "SQL_EXECUTE",
    "SqlStatement",
    "SqlText",
]


class SqlStatement(BaseModel):
    """One statement, and the database to run it on: our own if none is named."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        validate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "query": "SELECT count(*) AS n FROM noetl.event WHERE execution_id = $1",
                    "parameters": [325077236512452608],
                    "schema": "noetl",
                }
            ]
        },
    )

    query: str
    parameters: Json = Field(default=None, repr=False)
    search_path: str | None = Field(default=None, alias="schema")
    database: str | None = None
    credential: str | None = None
    connection_string: str | None = Field(default=None, repr=False)


class SqlText(BaseModel):
    """The body as text: reading it on the way would round its numbers."""

    model_config = SECRET_MODEL

    text: str


SQL_EXECUTE = Operation(
    service="projector",
    name="sql.execute",
    request=SqlStatement,
    answer=SqlText,
    scope="shard",
    summary="Run a statement; the text of the answer is the body for the client.",
    repeatable=False,
)
SESSIONS_VALIDATE = Operation(
    service="projector",
    name="sessions.validate",
    request=SessionRequest,
    answer=SessionAnswer,
    scope="shard",
    summary="Return the user of a browser session's token.",
)

"""Operations of the projector that run SQL."""

from pydantic import ConfigDict, Field

from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.json import Json
from noetl_contract.model import SecretModel
from noetl_contract.rpc.operation import Operation


class SqlStatement(SecretModel):
    """One statement, and the database to run it on: our own if none is named."""

    model_config = ConfigDict(
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


class SqlText(SecretModel):
    """The body as text: reading it on the way would round its numbers."""

    text: str


SQL_EXECUTE = Operation("projector", "sql.execute", SqlStatement, SqlText, repeatable=False)
"""Run a statement; the text of the answer is the body for the client."""
SESSIONS_VALIDATE = Operation("projector", "sessions.validate", SessionRequest, SessionAnswer)
"""Return the user of a browser session's token."""

"""`/api/postgres/execute`, `/api/db/*` and `/api/auth/session/validate`."""

from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from noetl_contract.http.aliases import Aliased
from noetl_contract.http.scalars import I32
from noetl_contract.model import Model, example


class SqlRequest(Aliased):
    """One statement; it only reads unless a setting lets it write."""

    model_config = example(
        query="SELECT event_type, count(*) AS n FROM noetl.event"
        " WHERE execution_id = $1 GROUP BY 1",
        parameters=[320816801799737344],
        schema="noetl",
    )

    query: str | None = None
    query_base64: str | None = Field(default=None, description="wins over `query`")
    procedure: str | None = Field(default=None, description="used when there is no query")
    parameters: Any = Field(
        default=None, description="a list for `$1` or `%s`, an object for `%(name)s`"
    )
    search_path: str | None = Field(
        default=None,
        validation_alias=AliasChoices("schema", "db_schema"),
        serialization_alias="schema",
        description="search path of this statement",
    )
    database: str | None = Field(default=None, description="another database of the server")
    credential: str | None = Field(default=None, description="a stored credential of type postgres")
    connection_string: str | None = Field(default=None, description="wins over the other two")
    shard: I32 | None = Field(
        default=None, description="ours: whose database is asked, 0 if absent"
    )


class SqlAnswer(Model):
    """Rows as objects with sorted keys; `truncated` and `rows` only when rows are cut."""

    model_config = example(status="ok", result=[{"event_type": "playbook_started", "n": 12}])

    status: Literal["ok"]
    result: list[dict[str, Any]]
    truncated: bool | None = None
    rows: int | None = None


class DbInitAnswer(Model):
    """Result of the schema check; nothing is created."""

    status: Literal["ok"]
    message: str
    valid: bool


class DbValidateAnswer(Model):
    """Existing tables, and required tables that are missing."""

    status: Literal["ok"]
    message: str
    valid: bool
    tables: list[str]
    missing: list[str]


class SessionRequest(Model):
    """A browser session's token, and the credential of the database that knows it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_token": "<token>", "credential": "pg_auth"}]}
    )

    session_token: str
    credential: str = "pg_auth"


class SessionUser(Model):
    """Owner of a session."""

    user_id: int
    email: str
    display_name: str
    roles: list[str]


class SessionAnswer(Model):
    """Validity of a session; status 200 also when the database did not answer."""

    status: Literal["ok", "error"]
    valid: bool
    user: SessionUser | None
    expires_at: str | None
    error: str | None

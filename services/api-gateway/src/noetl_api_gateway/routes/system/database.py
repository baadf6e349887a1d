"""`/api/postgres/execute` and `/api/db/*`."""

import base64
import binascii

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.system.database import (
    DbInitAnswer,
    DbValidateAnswer,
    SqlAnswer,
    SqlRequest,
)
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import SCHEMA_TABLES, SQL_EXECUTE, SqlStatement

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("database")
_NEITHER = "Either 'query' or 'procedure' must be provided"
_REQUIRED = (
    "resource",
    "catalog",
    "transient",
    "event",
    "credential",
    "runtime",
    "schedule",
    "keychain",
)


@TOPIC.route(
    "POST /api/postgres/execute",
    SqlAnswer,
    body=SqlRequest,
    needs=Right.SQL_EXECUTE,
    summary="Run one SQL statement, for reading unless a setting allows more",
    errors={
        403: "Database error: error returned from database: cannot execute INSERT in a"
        " read-only transaction; NOETL_SQL_CONSOLE_WRITES allows writing",
        404: "Credential 'pg_local' not found",
        422: _NEITHER,
        500: 'Database error: error returned from database: relation "nope" does not exist',
    },
)
async def execute_sql(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Run a statement on the database of a shard, or on a database that the request names."""
    if not gateway.settings.sql_execute_enabled:
        raise Refusal(403, "POST /api/postgres/execute is switched off at this edge")
    sent = await read_body(request, SqlRequest)
    shard = sent.shard or 0
    if shard not in gateway.services.shards:
        raise Refusal(422, f"There is no shard {shard}")
    wanted = SqlStatement(
        query=_query(sent),
        parameters=sent.parameters,
        search_path=sent.search_path,
        database=sent.database,
        credential=sent.credential,
        connection_string=sent.connection_string,
    )
    found = await gateway.services.ask(SQL_EXECUTE, wanted, shard=shard, within="sql")
    # Passed on as text: reading it here would round its numbers.
    return Response(found.text.encode(), status_code=200, media_type="application/json")


@TOPIC.route(
    "POST /api/db/init",
    DbInitAnswer,
    needs=Right.DATABASE_READ,
    summary="Say whether the schema is there; nothing is created",
)
async def init_database(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Look for the schema; services never migrate."""
    found = await gateway.services.ask(SCHEMA_TABLES, Nothing())
    message = (
        "Schema 'noetl' already exists. Run noetlctl db init to reinitialize."
        if found.exists
        else "Schema 'noetl' does not exist. Run noetlctl db init to create it."
    )
    answer = DbInitAnswer(status="ok", message=message, valid=found.exists)
    return json_answer(request, answer)


@TOPIC.route(
    "GET /api/db/validate",
    DbValidateAnswer,
    needs=Right.DATABASE_READ,
    summary="Name the tables of the schema and those that are missing",
)
async def validate_database(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Compare the tables that there are with those that must be there."""
    tables = (await gateway.services.ask(SCHEMA_TABLES, Nothing())).tables
    absent = [name for name in _REQUIRED if name not in tables]
    message = f"Missing tables: {', '.join(absent)}" if absent else "Database schema is valid"
    answer = DbValidateAnswer(
        status="ok", message=message, valid=not absent, tables=tables, missing=absent
    )
    return json_answer(request, answer)


def _query(sent: SqlRequest) -> str:
    """Return the statement: `query_base64`, else `query`, else `procedure`."""
    if sent.query_base64 is not None:
        return _decoded(sent.query_base64)
    chosen = sent.procedure if sent.query is None else sent.query
    if chosen is None:
        raise Refusal(422, _NEITHER)
    return chosen.strip()


def _decoded(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"Invalid base64: {error}") from error
    try:
        return decoded.decode().strip()
    except UnicodeDecodeError as error:
        raise Refusal(422, f"Invalid UTF-8 in query: {error}") from error

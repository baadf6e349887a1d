"""`/api/auth/session/validate`, which a gateway in front of us asks (http-a 15.1)."""

from litestar import Response, post
from noetl_contract.http.database import SessionAnswer, SessionRequest

from noetl_api_gateway.answers import json_answer
from noetl_api_gateway.bodies import read_json
from noetl_api_gateway.edge import OpenEdge
from noetl_api_gateway.fields import require_object, text
from noetl_api_gateway.openapi import documented
from noetl_api_gateway.refusals import Refusal
from noetl_api_gateway.request import AnyRequest
from noetl_api_gateway.services import body_of

__all__ = ["validate_session"]


@post(
    "/api/auth/session/validate",
    status_code=200,
    summary="Say who a session token belongs to",
    tags=["sessions"],
    operation_class=documented(
        SessionRequest,
        SessionAnswer,
        errors={
            400: "Credential 'pg_auth' is of type 'http', expected postgres",
            404: "Credential 'pg_auth' not found",
            422: "session_token must not be empty",
        },
    ),
)
async def validate_session(request: AnyRequest, edge: OpenEdge) -> Response[bytes]:
    """Look a token up in the database that a credential names."""
    source = require_object(await read_json(request, unique_keys=True), name="SessionRequest")
    token = text(source, "session_token").strip()
    if not token:
        raise Refusal(422, "session_token must not be empty")
    wanted = {
        "session_token": token,
        "credential": text(source, "credential", default="pg_auth"),
    }
    return json_answer(request, body_of(await edge.services.projector("sessions.validate", wanted)))

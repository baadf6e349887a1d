"""`/api/auth/session/validate`, which a gateway in front of us asks (http-a 15.1)."""

from litestar import Response, post
from noetl_contract.http.database import SessionAnswer, SessionRequest

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import body_of


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
async def validate_session(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Look a token up in the database that a credential names."""
    wish = await read_body(request, SessionRequest)
    token = wish.session_token.strip()
    if not token:
        raise Refusal(422, "session_token must not be empty")
    wanted = {"session_token": token, "credential": wish.credential}
    return json_answer(
        request, body_of(await gateway.services.projector("sessions.validate", wanted))
    )

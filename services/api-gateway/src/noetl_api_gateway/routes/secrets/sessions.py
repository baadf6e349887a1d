"""`/api/auth/session/validate`, which a gateway in front of the edge asks."""

from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.json import JsonObject
from noetl_contract.rpc import projector

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Forward, forwarding


def _stripped(wanted: JsonObject) -> JsonObject:
    token = wanted["session_token"].strip()
    if not token:
        raise Refusal(422, "session_token must not be empty")
    return wanted | {"session_token": token}


ROUTES = forwarding(
    Forward(
        method="POST",
        path="/api/auth/session/validate",
        name="validate_session",
        operation=projector.SESSIONS_VALIDATE,
        body=SessionRequest,
        prepare=_stripped,
        answer=SessionAnswer,
        summary="Say who a session token belongs to",
        description="Look a token up in the database that a credential names.",
        tags=["sessions"],
        errors={
            400: "Credential 'pg_auth' is of type 'http', expected postgres",
            404: "Credential 'pg_auth' not found",
            422: "session_token must not be empty",
        },
    ),
)

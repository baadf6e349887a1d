"""`/api/auth/session/validate`, which a gateway in front of the edge calls."""

from noetl_contract.access.rights import Right
from noetl_contract.http.system.database import SessionRequest
from noetl_contract.rpc.projector import SESSIONS_VALIDATE

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("sessions")


def _stripped(sent: Sent[SessionRequest]) -> SessionRequest:
    token = sent.body.session_token.strip()
    if not token:
        raise Refusal(422, "session_token must not be empty")
    return SessionRequest(session_token=token, credential=sent.body.credential)


TOPIC.forward(
    "POST /api/auth/session/validate",
    SESSIONS_VALIDATE,
    _stripped,
    body=SessionRequest,
    name="validate_session",
    needs=Right.SESSIONS_VALIDATE,
    summary="Say who a session token belongs to",
    description="Look a token up in the database that a credential names.",
    errors={
        400: "Credential 'pg_auth' is of type 'http', expected postgres",
        404: "Credential 'pg_auth' not found",
        422: "session_token must not be empty",
    },
)

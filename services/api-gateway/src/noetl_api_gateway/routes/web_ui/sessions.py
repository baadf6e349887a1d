"""`/api/auth/validate` and `/api/auth/check-access`, a gateway's routes that the web UI calls."""

from collections.abc import Mapping

from litestar import Response
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right
from noetl_contract.http.system.browser_sessions import (
    AccessCheckAnswer,
    AccessCheckRequest,
    TokenValidateAnswer,
    TokenValidateRequest,
)
from noetl_contract.http.system.database import SessionUser

from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.routes.web_ui.tokens import holder_of

TOPIC = Topic("sessions")
_NEEDED: Mapping[str, Right] = {
    "execute": Right.EXECUTIONS_START,
    "view": Right.CATALOG_READ,
    "edit": Right.CATALOG_REGISTER,
}
_INVALID = "Invalid or expired session"


@TOPIC.route(
    "POST /api/auth/validate",
    TokenValidateAnswer,
    body=TokenValidateRequest,
    needs=Right.PUBLIC,
    summary="Say whose a page's token is",
)
async def validate(request: AnyRequest) -> Response[bytes]:
    """Check a token like one in a header; where no login is needed any token is good."""
    sent = await read_body(request, TokenValidateRequest)
    who = await holder_of(request, sent.session_token.strip())
    end = None if who is None or who.expires_at is None else who.expires_at.isoformat()
    answer = TokenValidateAnswer(
        valid=who is not None,
        user=None if who is None else _user_of(who),
        expires_at=end,
        message=_INVALID if who is None else "Session is valid",
    )
    return json_answer(request, answer)


@TOPIC.route(
    "POST /api/auth/check-access",
    AccessCheckAnswer,
    body=AccessCheckRequest,
    needs=Right.PUBLIC,
    summary="Say whether a page may use a playbook",
)
async def check_access(request: AnyRequest) -> Response[bytes]:
    """Judge by the rights and namespaces of the token's holder."""
    sent = await read_body(request, AccessCheckRequest)
    who = await holder_of(request, sent.session_token.strip())
    allowed = who is not None and _may(who, sent)
    refused = _INVALID if who is None else "Access denied"
    answer = AccessCheckAnswer(
        allowed=allowed,
        user=None if who is None else _user_of(who),
        playbook_path=sent.playbook_path,
        permission_type=sent.permission_type,
        message="Access granted" if allowed else refused,
    )
    return json_answer(request, answer)


def _may(who: Principal, wanted: AccessCheckRequest) -> bool:
    path, kind = wanted.playbook_path, wanted.permission_type
    is_in_reach = who.reaches(path) if kind == "view" else who.may_change(path)
    return who.may(_NEEDED[kind]) and is_in_reach


def _user_of(who: Principal) -> SessionUser:
    """Return a caller as a user; users of the database have numbers, and callers have not."""
    return SessionUser(
        user_id=0, email=who.name, display_name=who.name, roles=[role.value for role in who.roles]
    )

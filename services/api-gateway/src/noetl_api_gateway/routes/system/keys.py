"""API keys, grants and the access audit, for operators."""

from noetl_contract.access.audit import AccessAuditQuery
from noetl_contract.access.grants import GrantListRequest, GrantName, GrantPut, GrantWish
from noetl_contract.access.keys import KeyCreate, KeyListRequest, KeyName, KeyWish
from noetl_contract.access.rights import Right
from noetl_contract.rpc.catalog import (
    ACCESS_AUDIT_LIST,
    AUTH_GRANT_DELETE,
    AUTH_GRANT_LIST,
    AUTH_GRANT_PUT,
    AUTH_KEY_CREATE,
    AUTH_KEY_LIST,
    AUTH_KEY_REVOKE,
)
from pydantic import BaseModel

from noetl_api_gateway.http.fields import query_moment
from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, optional_token_guard
from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("access", guards=[optional_token_guard], errors=WRONG_TOKEN)
_LARGEST_PAGE = 1000


def _audit(sent: Sent[BaseModel]) -> AccessAuditQuery:
    limit = sent.number("limit", 100)
    if not 1 <= limit <= _LARGEST_PAGE:
        raise bad_query(f"limit: expected 1 to {_LARGEST_PAGE}")
    return AccessAuditQuery(
        principal_name=sent.text("principal"),
        right=sent.text("right"),
        outcome=sent.text("outcome"),
        object=sent.text("object"),
        since=query_moment(sent.text("from"), "from"),
        until=query_moment(sent.text("to"), "to"),
        limit=limit,
    )


def _key(sent: Sent[KeyWish]) -> KeyCreate:
    return KeyCreate(**sent.body.model_dump(exclude_unset=True))


def _grant(sent: Sent[GrantWish]) -> GrantPut:
    return GrantPut(**sent.body.model_dump(exclude_unset=True))


TOPIC.forward(
    "POST /api/admin/keys",
    AUTH_KEY_CREATE,
    _key,
    body=KeyWish,
    name="create_key",
    summary="Make an API key",
    description="Its token is in this answer and nowhere else.",
    needs=Right.KEYS_MANAGE,
)
TOPIC.forward(
    "GET /api/admin/keys",
    AUTH_KEY_LIST,
    lambda sent: KeyListRequest(with_revoked=sent.flag("with_revoked", default=False)),
    name="list_keys",
    summary="List API keys without their secrets, newest first",
    needs=Right.KEYS_MANAGE,
    query={"with_revoked": (bool, "revoked ones too")},
)
TOPIC.forward(
    "DELETE /api/admin/keys/{key_id:str}",
    AUTH_KEY_REVOKE,
    lambda sent: KeyName(key_id=sent.word("key_id")),
    name="revoke_key",
    summary="Revoke an API key for good",
    needs=Right.KEYS_MANAGE,
    errors={404: "API key not found: 5f0c"},
)
TOPIC.forward(
    "POST /api/admin/grants",
    AUTH_GRANT_PUT,
    _grant,
    body=GrantWish,
    name="put_grant",
    summary="Grant roles to whom a JWT, a session or a certificate proves",
    needs=Right.KEYS_MANAGE,
)
TOPIC.forward(
    "GET /api/admin/grants",
    AUTH_GRANT_LIST,
    lambda _: GrantListRequest(),
    name="list_grants",
    summary="List grants, by kind and rank",
    needs=Right.KEYS_MANAGE,
)
TOPIC.forward(
    "DELETE /api/admin/grants/{grant_id:str}",
    AUTH_GRANT_DELETE,
    lambda sent: GrantName(grant_id=sent.word("grant_id")),
    name="delete_grant",
    summary="Delete a grant",
    needs=Right.KEYS_MANAGE,
    errors={404: "Grant not found: 7"},
)
TOPIC.forward(
    "GET /api/internal/access-audit",
    ACCESS_AUDIT_LIST,
    _audit,
    name="access_audit",
    summary="List decisions about requests, newest first",
    needs=Right.ACCESS_AUDIT_READ,
    query={
        "principal": (str, "exact name"),
        "right": (str, "the right that was needed"),
        "outcome": (str, "allowed, unauthenticated, forbidden, hidden or limited"),
        "object": (str, "as `execution:7` or `key:5f0c`"),
        "from": (str, "first moment, RFC 3339"),
        "to": (str, "moment after the last, RFC 3339"),
        "limit": (int, "rows at most, up to 1000"),
    },
)

"""Keys, grants and the access audit, one function per operation: none are kept yet."""

from noetl_common.bus.rpc import Handlers, answers
from noetl_contract.access.audit import AccessAudit, AccessAuditQuery
from noetl_contract.access.keys import (
    GrantsRequest,
    KeyCreate,
    KeyCreated,
    KeyList,
    KeyListRequest,
    KeyName,
    KeyRevoked,
    Resolved,
    TokenRequest,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    ACCESS_AUDIT_LIST,
    AUTH_GRANTS,
    AUTH_KEY_CREATE,
    AUTH_KEY_LIST,
    AUTH_KEY_REVOKE,
    AUTH_RESOLVE,
)


class AccessHandlers(Handlers):
    """A catalog without keys and grants: nobody is known."""

    has_details = False

    @answers(AUTH_RESOLVE)
    async def on_resolve(self, _request: TokenRequest) -> Resolved:
        """Know no key."""
        return Resolved(reason="unknown")

    @answers(AUTH_GRANTS)
    async def on_grants(self, _request: GrantsRequest) -> Resolved:
        """Have granted nothing."""
        return Resolved(reason="unknown")

    @answers(AUTH_KEY_CREATE)
    async def on_create(self, _request: KeyCreate) -> KeyCreated | Refusal:
        """Refuse to make a key that nobody would keep."""
        return Refusal(503, "API keys are not kept by this catalog")

    @answers(AUTH_KEY_LIST)
    async def on_list(self, _request: KeyListRequest) -> KeyList:
        """List no keys."""
        return KeyList(keys=[])

    @answers(AUTH_KEY_REVOKE)
    async def on_revoke(self, request: KeyName) -> KeyRevoked | Refusal:
        """Know no key."""
        return Refusal(404, f"API key not found: {request.key_id}")

    @answers(ACCESS_AUDIT_LIST)
    async def on_audit(self, _request: AccessAuditQuery) -> AccessAudit:
        """List no decisions."""
        return AccessAudit(rows=[])

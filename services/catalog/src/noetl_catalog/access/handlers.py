"""Keys, grants and the access audit, one function per operation."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hmac import compare_digest

from noetl_bus.broker import Bus
from noetl_bus.rpc import Handlers, answers
from noetl_common import metrics
from noetl_common.ids import SnowflakeIds
from noetl_contract.access.audit import AccessAudit, AccessAuditQuery, AccessRecord
from noetl_contract.access.grants import (
    GrantBody,
    GrantDeleted,
    GrantList,
    GrantListRequest,
    GrantName,
    GrantPut,
)
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
from noetl_contract.access.principal import OnBehalf, Principal
from noetl_contract.access.rights import Right
from noetl_contract.hints import AccessHint
from noetl_contract.http.scalars import parse_i64
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    ACCESS_AUDIT_LIST,
    AUTH_GRANT_DELETE,
    AUTH_GRANT_LIST,
    AUTH_GRANT_PUT,
    AUTH_GRANTS,
    AUTH_KEY_CREATE,
    AUTH_KEY_LIST,
    AUTH_KEY_REVOKE,
    AUTH_RESOLVE,
)
from noetl_contract.subjects import ACCESS_HINT

from noetl_catalog.access.keys import new_key, read_key
from noetl_catalog.access.scope import beyond
from noetl_catalog.access.settings import AccessSettings
from noetl_catalog.access.store import AccessStore
from noetl_catalog.access.usage import KeyUses

_RESOLVED = metrics.counter(
    "noetl_access_keys_resolved_total",
    "API keys looked up",
    ["outcome"],
    zeros=("known", "unknown", "revoked", "expired"),
)


class AccessHandlers(Handlers):
    """Operations on keys and grants: create, look up, revoke."""

    has_details = False

    def __init__(
        self,
        store: AccessStore,
        *,
        bus: Bus,
        ids: SnowflakeIds,
        uses: KeyUses,
        settings: AccessSettings,
    ) -> None:
        self._store = store
        self._bus = bus
        self._ids = ids
        self._uses = uses
        self._settings = settings

    @answers(AUTH_RESOLVE)
    async def on_resolve(self, request: TokenRequest) -> Resolved:
        """Return the principal of a key; a wrong secret is answered like an unknown id."""
        resolved = await self._resolved(request.token)
        _RESOLVED.labels(resolved.reason or "known").inc()
        return resolved

    @answers(AUTH_GRANTS)
    async def on_grants(self, request: GrantsRequest) -> Resolved:
        """Return the principal with the rights of the matching grants of the lowest rank."""
        found = await self._store.find_grants(request)
        if not found:
            return Resolved(reason="unknown")
        return Resolved(principal=_granted(request, found))

    @answers(AUTH_KEY_CREATE)
    async def on_create(self, request: KeyCreate) -> KeyCreated | Refusal:
        """Create a key, with no rights beyond those of its creator."""
        if (problem := beyond(request.principal, request)) is not None:
            return Refusal(403, problem)
        if request.expires_at is not None and request.expires_at <= datetime.now(UTC):
            return Refusal(422, "expires_at is over already")
        key = new_key()
        body = await self._store.insert_key(
            key,
            request,
            created_by=_name(request),
            record=self._record(request, "auth.key_create", f"key:{key.key_id}"),
        )
        return KeyCreated(**body.model_dump(), token=key.token)

    @answers(AUTH_KEY_LIST)
    async def on_list(self, request: KeyListRequest) -> KeyList:
        """List keys, newest first."""
        keys = await self._store.list_keys(
            with_revoked=request.with_revoked, limit=self._settings.access_key_limit
        )
        return KeyList(keys=keys)

    @answers(AUTH_KEY_REVOKE)
    async def on_revoke(self, request: KeyName) -> KeyRevoked | Refusal:
        """Revoke a key; all edges forget it at once."""
        revoked_at = await self._store.revoke_key(
            request.key_id,
            record=self._record(request, "auth.key_revoke", f"key:{request.key_id}"),
        )
        if revoked_at is None:
            return Refusal(404, f"API key not found: {request.key_id}")
        await self._notify([request.key_id])
        return KeyRevoked(key_id=request.key_id, revoked_at=revoked_at)

    @answers(AUTH_GRANT_PUT)
    async def on_grant_put(self, request: GrantPut) -> GrantBody | Refusal:
        """Store a grant, with no rights beyond those of its creator; edges drop cached callers."""
        if (problem := beyond(request.principal, request)) is not None:
            return Refusal(403, problem)
        if ":" not in request.claim:
            return Refusal(422, "claim is not of the form name:value")
        grant = await self._store.put_grant(
            self._ids.next(),
            request,
            created_by=_name(request),
            record=self._record(request, "auth.grant_put", f"grant:{request.claim}"),
        )
        await self._notify([])
        return grant

    @answers(AUTH_GRANT_LIST)
    async def on_grant_list(self, _request: GrantListRequest) -> GrantList:
        """List grants, by kind and rank."""
        return GrantList(
            grants=await self._store.list_grants(limit=self._settings.access_key_limit)
        )

    @answers(AUTH_GRANT_DELETE)
    async def on_grant_delete(self, request: GrantName) -> GrantDeleted | Refusal:
        """Delete a grant; all edges drop the callers that they have cached."""
        grant_id = parse_i64(request.grant_id)
        record = self._record(request, "auth.grant_delete", f"grant:{request.grant_id}")
        if grant_id is None or not await self._store.delete_grant(grant_id, record=record):
            return Refusal(404, f"Grant not found: {request.grant_id}")
        await self._notify([])
        return GrantDeleted(grant_id=request.grant_id)

    @answers(ACCESS_AUDIT_LIST)
    async def on_audit(self, request: AccessAuditQuery) -> AccessAudit:
        """List decisions, newest first."""
        return AccessAudit(rows=await self._store.list_records(request))

    async def _resolved(self, token: str) -> Resolved:
        key = read_key(token)
        stored = None if key is None else await self._store.find_key(key.key_id)
        if key is None or stored is None or not compare_digest(stored.sha256, key.sha256):
            return Resolved(reason="unknown")
        body = stored.body
        if body.revoked_at is not None:
            return Resolved(reason="revoked", key_id=body.key_id)
        if stored.is_expired:
            return Resolved(reason="expired", key_id=body.key_id)
        self._uses.note(body.key_id)
        principal = Principal(
            name=body.name,
            kind="key",
            roles=body.roles,
            grants=body.grants,
            namespaces=body.namespaces,
            pools=body.pools,
            expires_at=body.expires_at,
        )
        return Resolved(principal=principal, key_id=body.key_id)

    async def _notify(self, revoked: list[str]) -> None:
        """Notify the edges; if the hint is lost, their caches expire on their own."""
        await self._bus.send(ACCESS_HINT, AccessHint(revoked=revoked).to_json())

    def _record(self, request: OnBehalf, operation: str, about: str) -> AccessRecord:
        asking = request.principal
        return AccessRecord(
            record_id=f"catalog-{self._ids.next()}",
            occurred_at=datetime.now(UTC),
            principal=asking.name if asking else "",
            kind=asking.kind if asking else "nobody",
            right=Right.KEYS_MANAGE,
            method="RPC",
            route=operation,
            object=about,
            outcome="allowed",
        )


def _granted(proven: GrantsRequest, found: Sequence[GrantBody]) -> Principal:
    """Merge the grants of the lowest rank that have the first one's namespaces and pools.

    Otherwise an author of one namespace who may look at another would be an author of both.
    """
    first = found[0]
    reach = (first.rank, set(first.namespaces), set(first.pools))
    same = [one for one in found if (one.rank, set(one.namespaces), set(one.pools)) == reach]
    return Principal(
        name=proven.subject,
        kind=proven.kind,
        roles=tuple(dict.fromkeys(role for one in same for role in one.roles)),
        grants=tuple(dict.fromkeys(right for one in same for right in one.grants)),
        namespaces=first.namespaces,
        pools=first.pools,
    )


def _name(request: OnBehalf) -> str | None:
    return request.principal.name if request.principal else None

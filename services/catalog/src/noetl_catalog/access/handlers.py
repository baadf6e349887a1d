"""Operations on keys, grants and the access audit, and the times of last use of keys."""

from collections.abc import Callable, Sequence
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
    GrantWish,
)
from noetl_contract.access.keys import (
    GrantsRequest,
    KeyCreate,
    KeyCreated,
    KeyList,
    KeyListRequest,
    KeyName,
    KeyRevoked,
    KeyWish,
    Resolved,
    TokenRequest,
)
from noetl_contract.access.principal import EVERYWHERE, OnBehalf, Principal, is_below
from noetl_contract.access.rights import ROLE_RIGHTS, Right, Role
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
from noetl_service.service import every

from noetl_catalog.access.keys import AccessSettings, new_key, read_key
from noetl_catalog.access.store import AccessStore

_MOST_USED_KEYS = 100_000
_RESOLVED = metrics.counter(
    "noetl_access_keys_resolved_total",
    "API keys that were looked up, by outcome",
    ["outcome"],
    zeros=("known", "unknown", "revoked", "expired"),
)


class KeyUses:
    """Times at which keys were last used, written in batches; a crash loses the last batch."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._used: dict[str, datetime] = {}

    def record(self, key_id: str) -> None:
        """Record that a key is used now."""
        if key_id in self._used or len(self._used) < _MOST_USED_KEYS:
            self._used[key_id] = datetime.now(UTC)

    async def write(self) -> None:
        """Write the recorded times; after a failure, the next call writes them."""
        used = dict(self._used)
        if not used:
            return
        await self._store.touch_keys(used)
        for key_id, at in used.items():
            if self._used.get(key_id) == at:
                del self._used[key_id]

    async def run(self, seconds: float, *, beat: Callable[[], None] = lambda: None) -> None:
        """Write the recorded times every interval until cancelled."""
        await every(seconds, self.write, warning="key_uses_not_written", beat=beat)


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
        """Return the principal of a key; the answer to a wrong secret is that to an unknown id."""
        resolved = await self._resolved(request.token)
        _RESOLVED.labels(resolved.reason or "known").inc()
        return resolved

    @answers(AUTH_GRANTS)
    async def on_grants(self, request: GrantsRequest) -> Resolved:
        """Return the principal with the rights of the matching grants that have the lowest rank."""
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
        """Revoke a key; all gateways drop the key from their caches immediately."""
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
        """Store a grant, with no rights beyond its creator's; gateways drop cached callers."""
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
        """Delete a grant; all gateways drop cached callers."""
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
        self._uses.record(body.key_id)
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
        """Notify the gateways; if the notification is lost, their caches still expire."""
        await self._bus.send(ACCESS_HINT, AccessHint(revoked=revoked).to_json())

    def _record(self, request: OnBehalf, operation: str, about: str) -> AccessRecord:
        caller = request.principal
        return AccessRecord(
            record_id=f"catalog-{self._ids.next()}",
            occurred_at=datetime.now(UTC),
            principal=caller.name if caller else "",
            kind=caller.kind if caller else "nobody",
            right=Right.KEYS_MANAGE,
            method="RPC",
            route=operation,
            object=about,
            outcome="allowed",
        )


def _granted(proven: GrantsRequest, found: Sequence[GrantBody]) -> Principal:
    """Merge the grants of the lowest rank that have the same namespaces and pools as the first.

    Merging grants of different namespaces would give an author of one namespace, who may only read
    another, the rights of an author in both.
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


def beyond(giver: Principal | None, given: KeyWish | GrantWish) -> str | None:
    """Return an error that names a right, namespace or pool that the granting caller lacks.

    Return None if the caller may grant all of them. The system itself (no caller) and admins may
    grant everything, even `secrets.read`, which no role includes.
    """
    if giver is None or Role.ADMIN in giver.roles:
        return None
    wanted = frozenset(given.grants).union(*(ROLE_RIGHTS[role] for role in given.roles))
    missing = sorted(wanted - giver.rights())
    if missing:
        return f"{giver.name} can't give the right {missing[0]}, which it hasn't got"
    for namespace in given.namespaces:
        if not _is_inside(namespace, giver):
            return f"{giver.name} can't give the namespace '{namespace}', which it doesn't reach"
    for pool in given.pools:
        if (pool != "*" and not giver.may_run_on(pool)) or (pool == "*" and "*" not in giver.pools):
            return f"{giver.name} can't give the pool '{pool}', which it hasn't got"
    return None


def _is_inside(namespace: str, giver: Principal) -> bool:
    if giver.is_whole:
        return True
    return namespace != EVERYWHERE and any(is_below(namespace, own) for own in giver.namespaces)

"""Calls of operators: pauses of paths and pools, and API keys."""

from noetl_contract.access.keys import KeyCreated, KeyList, KeyRevoked, KeyWish
from noetl_contract.http.workers.pauses import Pause, PauseKind, PauseLifted, PauseList

from noetl_client.calls.call import Again, Call, get, segment, send


def pause(kind: PauseKind, name: str, reason: str | None = None) -> Call[Pause]:
    """Pause a path or a pool: none of their commands is dispatched."""
    body = {"kind": kind, "name": name, "reason": reason}
    return send("/api/pauses", Pause, body, again=Again.SAFE)


def resume(kind: PauseKind, name: str) -> Call[PauseLifted]:
    """Resume a path or a pool."""
    call = get("/api/pauses", PauseLifted, kind=kind, name=name)
    return Call("DELETE", call.path, PauseLifted, query=call.query, again=Again.SAFE)


def pauses() -> Call[PauseList]:
    """List the paused paths and pools."""
    return get("/api/pauses", PauseList)


def create_key(request: KeyWish) -> Call[KeyCreated]:
    """Create an API key; only this answer shows the key."""
    return send("/api/admin/keys", KeyCreated, request)


def keys(*, with_revoked: bool = False) -> Call[KeyList]:
    """List keys without their secrets, newest first."""
    return get("/api/admin/keys", KeyList, with_revoked=with_revoked)


def revoke_key(key_id: str) -> Call[KeyRevoked]:
    """Revoke a key; all gateways reject it immediately."""
    path = f"/api/admin/keys/{segment(key_id)}"
    return send(path, KeyRevoked, method="DELETE", again=Again.SAFE)

"""Calls of operators: pauses of paths and pools, and API keys."""

from noetl_contract.access.keys import KeyCreated, KeyList, KeyRevoked, KeyWish
from noetl_contract.http.workers.pauses import Pause, PauseKind, PauseLifted, PauseList

from noetl_client.calls.call import Again, Call, get, segment, send


def pause(kind: PauseKind, name: str, reason: str | None = None) -> Call[Pause]:
    """Hand out no new command of a path or a pool."""
    body = {"kind": kind, "name": name, "reason": reason}
    return send("/api/pauses", Pause, body, again=Again.SAFE)


def resume(kind: PauseKind, name: str) -> Call[PauseLifted]:
    """Take the pause of a path or a pool back."""
    call = get("/api/pauses", PauseLifted, kind=kind, name=name)
    return Call("DELETE", call.path, PauseLifted, query=call.query, again=Again.SAFE)


def pauses() -> Call[PauseList]:
    """List the paths and pools that are paused."""
    return get("/api/pauses", PauseList)


def create_key(wish: KeyWish) -> Call[KeyCreated]:
    """Make an API key, which no other answer shows."""
    return send("/api/admin/keys", KeyCreated, wish)


def keys(*, with_revoked: bool = False) -> Call[KeyList]:
    """List keys without their secrets, newest first."""
    return get("/api/admin/keys", KeyList, with_revoked=with_revoked)


def revoke_key(key_id: str) -> Call[KeyRevoked]:
    """Revoke a key; all edges refuse it at once."""
    path = f"/api/admin/keys/{segment(key_id)}"
    return send(path, KeyRevoked, method="DELETE", again=Again.SAFE)

"""The key of a keychain entry (http-a 7.1)."""

__all__ = ["SCOPES", "cache_key"]

SCOPES = frozenset({"local", "global", "shared"})


def cache_key(name: str, *, catalog_id: int, scope_type: str, execution_id: int | None) -> str:
    """Return the key; a scope that nobody knows is like the global one."""
    match scope_type:
        case "local":
            return f"{name}:{catalog_id}:{'local' if execution_id is None else execution_id}"
        case "shared" if execution_id is None:
            return f"{name}:{catalog_id}:shared"
        case "shared":
            return f"{name}:{catalog_id}:shared:{execution_id}"
        case _:
            return f"{name}:{catalog_id}:global"

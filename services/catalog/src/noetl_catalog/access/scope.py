"""Check that callers grant only the rights that they have themselves."""

from noetl_contract.access.grants import GrantWish
from noetl_contract.access.keys import KeyWish
from noetl_contract.access.principal import EVERYWHERE, Principal, is_below
from noetl_contract.access.rights import ROLE_RIGHTS, Role


def beyond(giver: Principal | None, given: KeyWish | GrantWish) -> str | None:
    """Return a message that names what the granting caller lacks itself; None when nothing.

    The system itself (None) and admins may grant everything, `secrets.read` too, which no role
    holds.
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

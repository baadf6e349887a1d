"""Owner of an execution, and whether the owner may start it."""

import hashlib
from dataclasses import dataclass

from noetl_contract.access.principal import OPEN_POOLS, SYSTEM, Principal, is_below, starting
from noetl_contract.access.rights import Right
from noetl_contract.ingress import ExecuteMessage, Lineage
from noetl_contract.subjects import pool_segment

from noetl_api_gateway.access.gatekeeper import Gatekeeper, missing
from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.caller import caller
from noetl_api_gateway.http.refusals import Refusal

_START = Right.EXECUTIONS_START


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Principals whose rights a start has that a message of a subscription asks for.

    Attributes:
        registrant: who registered the subscription; None where that is not known.
        actor: who brings the message.
        within: of whom it needs the reach too.
    """

    registrant: Principal | None
    actor: str
    within: Principal | None = None

    def starting(self, path: str) -> Principal:
        """Return the principal that starts a playbook."""
        found = starting(self.registrant, path, name=self.actor)
        return found if self.within is None else found.narrowed(self.within)


async def subscriber_of(
    gateway: Gateway, parent: int | None, call: tuple[int, int] | None
) -> Subscriber | None:
    """Return whose rights a start has below a parent that is a subscription; else None.

    A subscription that is read by a worker starts no more than who registered it could start, and
    no more than the worker's own login may.

    Raises:
        Refusal: 404, the subscription is out of the caller's reach.
    """
    who, gatekeeper = caller(), gateway.gatekeeper
    if who is None or gatekeeper is None or parent is None or call is not None:
        return None
    if who.kind == "capability":
        return None
    found = await gatekeeper.subscriptions.find(parent)
    if found is None:
        return None
    if not who.reaches(found.path):
        gatekeeper.refused_here(_START, "hidden")
        raise Refusal(404, f"Execution not found: {parent}")
    return Subscriber(found.registrant, who.name, within=who)


async def owned(
    gateway: Gateway, message: ExecuteMessage, below: Subscriber | None = None
) -> ExecuteMessage:
    """Return the start with its owner; a command's start gets it from its parent, later.

    Args:
        gateway: the open parts.
        message: the start.
        below: whose rights it has, if its parent is a subscription.

    Raises:
        Refusal: 403 or 404, the caller may not start it.
    """
    principal = caller() if below is None else below.starting(message.path)
    gatekeeper = gateway.gatekeeper
    if principal is None or gatekeeper is None:
        return message
    parent = message.parent_execution_id
    if (
        parent is not None
        and below is None
        and not await gatekeeper.reach.has_execution(principal, parent, is_read=False)
    ):
        gatekeeper.refused_here(_START, "hidden")
        raise Refusal(404, f"Execution not found: {parent}")
    if principal.kind == "capability":
        parent = principal.execution_id if parent is None else parent
        return message.but(parent_execution_id=parent, actor=principal.name)
    if not principal.reaches(message.path):
        gatekeeper.refused_here(_START, "hidden")
        raise Refusal(404, f"Playbook not found: {message.path}")
    if not principal.may_change(message.path):
        gatekeeper.refused_here(Right.SYSTEM_PATHS, "forbidden")
        raise missing(Right.SYSTEM_PATHS)
    if not principal.may_run_on(_pool(message)):
        raise _foreign_pool(gatekeeper, message)
    return message.but(
        owner=principal.name,
        actor=principal.name if below is None else below.actor,
        namespace=principal.namespace_of(message.path),
    )


async def own_call(gateway: Gateway, call: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the command that a start is made by: that of the login, whatever the path names.

    Raises:
        Refusal: 404, the execution that is named is out of the caller's reach.
    """
    principal, gatekeeper = caller(), gateway.gatekeeper
    if principal is None or gatekeeper is None or call is None:
        return call
    if principal.kind == "capability":
        return principal.execution_id or 0, principal.event_id or 0
    if not await gatekeeper.reach.has_execution(principal, call[0], is_read=False):
        gatekeeper.refused_here(_START, "hidden")
        raise Refusal(404, f"Execution not found: {call[0]}")
    return call


async def handed_on(gateway: Gateway, message: ExecuteMessage, parent: Lineage) -> Lineage:
    """Return what a start takes over: a command's has the owner of the command's execution.

    It stays in the namespace of its parent; what is below `system/`, and the pool of that name,
    only executions from there may start.

    Raises:
        Refusal: 403, the owner may not start it.
    """
    principal, gatekeeper = caller(), gateway.gatekeeper
    if gatekeeper is None or principal is None or principal.kind != "capability":
        return parent
    namespace = parent.namespace or ""
    if not is_below(message.path, namespace):
        gatekeeper.refused_here(_START, "forbidden")
        raise Refusal(403, f"The right `{_START}` is missing outside of {namespace}")
    pool = _pool(message)
    if is_below(message.path, SYSTEM) or pool == SYSTEM:
        standing = await gatekeeper.reach.standing(principal)
        if not is_below(standing.path, SYSTEM):
            gatekeeper.refused_here(Right.SYSTEM_PATHS, "forbidden")
            raise missing(Right.SYSTEM_PATHS)
    elif namespace and pool not in OPEN_POOLS:
        raise _foreign_pool(gatekeeper, message)
    return parent.but(owner=parent.owner or principal.name, namespace=namespace)


def caller_s_key(key: str | None, path: str) -> str | None:
    """Return an idempotency key as one of this caller for this path, where callers are known.

    The same key of somebody else, or for another playbook, is another one.
    """
    principal = caller()
    if principal is None or key is None:
        return key
    return hashlib.sha256(f"{principal.name}\n{path}\n{key}".encode()).hexdigest()


def actor() -> str | None:
    """Return the name of the caller, for the log of an execution."""
    principal: Principal | None = caller()
    return None if principal is None else principal.name


def _pool(message: ExecuteMessage) -> str:
    return pool_segment(execution_pool=message.execution_pool, playbook_path=message.path)


def _foreign_pool(gatekeeper: Gatekeeper, message: ExecuteMessage) -> Refusal:
    gatekeeper.refused_here(_START, "forbidden")
    return Refusal(403, f"The right `{_START}` is missing on the pool `{_pool(message)}`")

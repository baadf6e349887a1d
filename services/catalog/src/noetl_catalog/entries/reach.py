"""Checks of a caller's access to paths of the catalog."""

from noetl_contract.access.principal import Principal, is_below
from noetl_contract.access.rights import Right
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.subjects import pool_segment
from noetl_engine.schedule.model import Schedule
from noetl_engine.triggers.subscription import Subscription


def hides(principal: Principal | None, path: str) -> bool:
    """Return whether a path is hidden from a caller.

    Nothing is hidden from the system itself. The gateway checks commands by their executions.
    """
    if principal is None or principal.kind == "capability":
        return False
    return not principal.reaches(path)


def change_refused(principal: Principal | None, path: str) -> Refusal | None:
    """Return a refusal if a caller may not write below a path."""
    if principal is None or principal.may_change(path):
        return None
    if principal.reaches(path):
        text = f"'{path}' needs the right `{Right.SYSTEM_PATHS}`, which {principal.name} hasn't got"
        return Refusal(403, text)
    return Refusal(403, f"'{path}' is outside of the namespaces of {principal.name}")


def dispatch_refused(principal: Principal | None, wanted: Subscription | None) -> Refusal | None:
    """Return why a caller may not register a subscription; None when it may.

    They start it with the login of a gateway or a worker, which reaches more than the caller.
    """
    if principal is None or wanted is None:
        return None
    starts = ((path, pool) for path in wanted.playbooks for pool in wanted.pools)
    refusals = (_start_refused(principal, path, pool) for path, pool in starts)
    return next((one for one in refusals if one is not None), None)


def schedule_refused(principal: Principal | None, wanted: Schedule | None) -> Refusal | None:
    """Return a refusal if a caller may not register a schedule.

    The caller owns the executions, so it needs the right to start them.
    """
    if principal is None or wanted is None:
        return None
    if not principal.may(Right.EXECUTIONS_START):
        return Refusal(403, f"The right `{Right.EXECUTIONS_START}` is missing")
    return _start_refused(principal, wanted.playbook, None)


def trigger_refused(principal: Principal | None, wanted: EndedTrigger | None) -> Refusal | None:
    """Return a refusal if a caller may not register a trigger.

    A trigger reacts to executions and starts a playbook with the rights of its registrant, so the
    caller has to reach the paths of both.
    """
    if principal is None or wanted is None:
        return None
    if not principal.may(Right.EXECUTIONS_START):
        return Refusal(403, f"The right `{Right.EXECUTIONS_START}` is missing")
    if not principal.is_whole and not (wanted.under and principal.reaches(wanted.under)):
        return Refusal(403, f"'{wanted.under}' is outside of the namespaces of {principal.name}")
    return None if wanted.playbook is None else _start_refused(principal, wanted.playbook, None)


def _start_refused(principal: Principal, path: str, named: str | None) -> Refusal | None:
    """Return a refusal if a caller may not start a playbook on a pool."""
    if (refused := change_refused(principal, path)) is not None:
        return refused
    pool = pool_segment(execution_pool=named, playbook_path=path)
    if principal.may_run_on(pool):
        return None
    return Refusal(403, f"The worker pool '{pool}' is not granted to {principal.name}")


def read_registrant(kept: Json) -> Principal | None:
    """Decode the principal that registered a document; return None if it is unknown."""
    return None if kept is None else Principal.model_validate(kept)


def stems(principal: Principal | None) -> list[str] | None:
    """Return the path prefixes that a list is filtered by, or None for no filter."""
    return None if principal is None else principal.stems()


def meets(namespace: str, path: str) -> bool:
    """Return whether one of two path prefixes contains the other."""
    return is_below(namespace, path) or is_below(path, namespace)

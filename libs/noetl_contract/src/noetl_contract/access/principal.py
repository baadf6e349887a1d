"""`Principal`: the caller, authenticated by the edge and passed to the services."""

from typing import Literal, Self

from pydantic import AwareDatetime

from noetl_contract.access.rights import COMMAND_RIGHTS, PAGE_RIGHTS, ROLE_RIGHTS, Right, Role
from noetl_contract.model import Model, example

type Kind = Literal[
    "key", "jwt", "session", "certificate", "capability", "address", "token", "nobody"
]
"""The credential by which a principal was authenticated; ``token`` is the internal API token."""

EVERYWHERE = ""
"""The namespace that all paths are in."""
SYSTEM = "system"
"""Pool and first part of the paths that the right `system.paths` is for."""
OPEN_POOLS = frozenset({"shared", "subscription"})
"""Pools that need no grant."""
EVERY_POOL = "*"
"""Wildcard in place of a pool's name: all pools but `system`."""

_WHOLE = frozenset({Role.ADMIN, Role.SYSTEM})


class Principal(Model):
    """A caller.

    Attributes:
        name: unique among those of its kind; shown in the audit and as owner of executions.
        kind: of the credential by which it was authenticated.
        roles: each gives the rights of ``ROLE_RIGHTS``.
        grants: single rights by name, as ``secrets.read``.
        namespaces: path prefixes that it reaches, ``""`` for all; `admin` and `system` reach all.
        pools: worker pools beside the open ones; ``*`` for all but `system`.
        expires_at: end of what it has shown, if it has one.
        execution_id: the only execution that a capability reaches.
        event_id: the command that a capability stands for.
        request_id: the request of a page that a capability stands for, and for no command.
    """

    model_config = example(
        name="ci", kind="key", roles=["operator"], namespaces=["team-a/"], pools=[]
    )

    name: str
    kind: Kind
    roles: tuple[Role, ...] = ()
    grants: tuple[Right, ...] = ()
    namespaces: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    expires_at: AwareDatetime | None = None
    execution_id: int | None = None
    event_id: int | None = None
    request_id: str | None = None

    def rights(self) -> frozenset[Right]:
        """Return all rights, those of the roles and those granted by name."""
        if self.kind == "capability":
            return COMMAND_RIGHTS if self.request_id is None else PAGE_RIGHTS
        of_roles = (ROLE_RIGHTS[role] for role in self.roles)
        return frozenset(self.grants).union(*of_roles)

    def may(self, right: Right) -> bool:
        """Return whether the principal has a right; every principal has `public`."""
        if right is Right.PUBLIC:
            return True
        if self.kind == "capability":
            return right in self.rights()
        return right in self.grants or any(right in ROLE_RIGHTS[role] for role in self.roles)

    @property
    def is_whole(self) -> bool:
        """Whether all paths are in reach, so that nothing has to be filtered."""
        return EVERYWHERE in self.namespaces or not _WHOLE.isdisjoint(self.roles)

    def reaches(self, path: str) -> bool:
        """Return whether a path, of a document or an execution, is in one of the namespaces."""
        return self.is_whole or any(is_below(path, prefix) for prefix in self.namespaces)

    def stems(self) -> list[str] | None:
        """Return the namespaces to filter a list by, without slashes; None where all are in reach.

        A command, which has no namespaces, lists nothing.
        """
        return None if self.is_whole else [one.strip("/") for one in self.namespaces]

    def may_change(self, path: str) -> bool:
        """Return whether a path may be registered or started; `system/` needs an extra right."""
        is_system = is_below(path, SYSTEM)
        return self.reaches(path) and (not is_system or self.may(Right.SYSTEM_PATHS))

    def may_run_on(self, pool: str) -> bool:
        """Return whether executions may be put on a worker pool."""
        if pool == SYSTEM:
            return self.may(Right.SYSTEM_PATHS)
        if pool in OPEN_POOLS or not _WHOLE.isdisjoint(self.roles):
            return True
        return pool in self.pools or EVERY_POOL in self.pools

    def namespace_of(self, path: str) -> str:
        """Return the narrowest namespace that a path is in, ``""`` where all are in reach."""
        return max((one for one in self.namespaces if is_below(path, one)), key=len, default="")

    def as_registrant(self) -> Self:
        """Return the stored part of the registrant of a document that starts executions."""
        pools = self.pools if _WHOLE.isdisjoint(self.roles) else (EVERY_POOL,)
        namespaces = (EVERYWHERE,) if self.is_whole else self.namespaces
        return type(self)(name=self.name, kind=self.kind, namespaces=namespaces, pools=pools)

    def narrowed(self, other: "Principal") -> Self:
        """Return the principal without the namespaces and pools that another one lacks."""
        both = {
            *(one for one in self.namespaces if other.reaches(one)),
            *(one for one in other.stems() or () if self.reaches(one)),
        }
        pools = {
            *(one for one in self.pools if other.may_run_on(one)),
            *(one for one in other.pools if self.may_run_on(one)),
        }
        return self.model_copy(
            update={"namespaces": tuple(sorted(both)), "pools": tuple(sorted(pools))}
        )


def starting(registrant: Principal | None, path: str, *, name: str) -> Principal:
    """Return the principal of a start that a registered document causes.

    It has the reach of the document's registrant, and never that of `system/`. If the registrant is
    unknown, the playbook and its pool were checked when the document was registered; its execution
    stays in the folder of the playbook.

    Args:
        registrant: the principal that registered the document.
        path: of the playbook.
        name: of the owner if the registrant is unknown.
    """
    known = registrant or Principal(
        name=name, kind="token", namespaces=(folder_of(path),), pools=(EVERY_POOL,)
    )
    return known.model_copy(update={"roles": (Role.GATEWAY,), "grants": ()})


class OnBehalf(Model):
    """A request with its caller; without one it is the system's own."""

    principal: Principal | None = None


def folder_of(path: str) -> str:
    """Return the folder of a path as a namespace; the path itself where it has none."""
    stem = path.strip("/")
    return stem.rpartition("/")[0] or stem


def is_below(path: str, prefix: str) -> bool:
    """Return whether a path is a prefix or below it; ``team-a`` is not below ``team``."""
    stem = prefix.strip("/")
    own = path.lstrip("/")
    return not stem or own == stem or own.startswith(f"{stem}/")

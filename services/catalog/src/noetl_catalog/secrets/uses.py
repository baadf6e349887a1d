"""Checks of a caller's or an execution's right to use, see or change a credential."""

from typing import Protocol

import httpx
from noetl_common.egress import is_among
from noetl_contract.access.principal import OnBehalf, Principal, is_below
from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CredentialStore
from noetl_contract.rpc.projector import ExecutionOrigin

from noetl_catalog.entries.reach import meets
from noetl_catalog.secrets.errors import UseRefused


class Executions(Protocol):
    """Source of the origins of executions."""

    async def find(self, execution_id: int) -> ExecutionOrigin | None:
        """Return how an execution began; None when there is no such execution."""


class Entries(Protocol):
    """Source of the paths of playbooks."""

    async def path_of(self, catalog_id: int) -> str | None:
        """Return the path of a playbook, deleted or not; None when there is none."""


class Uses:
    """The paths of playbooks that may use a credential.

    Args:
        executions: the source of how an execution began.
        entries: the source of the path of its playbook.
    """

    def __init__(self, executions: Executions, entries: Entries) -> None:
        self._executions = executions
        self._entries = entries

    async def check(
        self, body: CredentialBody, *, execution_id: int | None, principal: Principal | None
    ) -> None:
        """Check that a credential may be returned to a caller.

        A credential without paths may be used by all. With paths it may be used by the executions
        below them, and without an execution by a caller that reaches all of these paths.

        Raises:
            UseRefused: it may not be used there.
            Unavailable: the log of the execution can't be read.
        """
        if body.allowed_paths is None:
            return
        if execution_id is None:
            if principal is None or owns(principal, body.allowed_paths):
                return
            raise UseRefused(name=body.name, where="without an execution")
        path = await self.path_of(execution_id)
        if path is None or not any(is_below(path, one) for one in body.allowed_paths):
            raise UseRefused(name=body.name, where=f"in '{path}'" if path else "there")

    async def path_of(self, execution_id: int) -> str | None:
        """Return the path of an execution's playbook; None when it is unknown.

        Raises:
            Unavailable: its shard does not answer.
        """
        execution = await self._executions.find(execution_id)
        return None if execution is None else await self._entries.path_of(execution.catalog_id)

    async def path_of_entry(self, catalog_id: int) -> str | None:
        """Return the path of a catalog entry; None when there is none."""
        return await self._entries.path_of(catalog_id)

    async def catalog_id_of(self, execution_id: int) -> int | None:
        """Return the catalog entry that an execution runs; None when it is unknown.

        Raises:
            Unavailable: its shard does not answer.
        """
        execution = await self._executions.find(execution_id)
        return None if execution is None else execution.catalog_id


def name_of(request: OnBehalf) -> str | None:
    """Return the caller's name, for the audit."""
    return request.principal.name if request.principal else None


def hidden(principal: Principal | None, body: CredentialBody) -> bool:
    """Return whether a credential is hidden from a caller in lists and single reads."""
    if principal is None or principal.is_whole or principal.kind == "capability":
        return False
    if body.allowed_paths is None:
        return False
    return not any(meets(one, path) for one in principal.namespaces for path in body.allowed_paths)


def change_refused(principal: Principal | None, body: CredentialBody) -> Refusal | None:
    """Return why a caller may not replace or delete a credential; None when it may."""
    if principal is None or owns(principal, body.allowed_paths):
        return None
    text = f"Credential '{body.name}' is also used outside of the namespaces of {principal.name}"
    return Refusal(403, text)


def scoped(principal: Principal | None, new: CredentialStore) -> CredentialStore | Refusal:
    """Return a credential to store; without paths of its own it gets the caller's namespaces."""
    if principal is None or principal.is_whole:
        return new
    if new.allowed_paths is None:
        return new.model_copy(update={"allowed_paths": list(principal.namespaces)})
    for path in new.allowed_paths:
        if not owns(principal, [path]):
            return Refusal(403, f"'{path}' is outside of the namespaces of {principal.name}")
    return new


def owns(principal: Principal, paths: list[str] | None) -> bool:
    """Return whether all of a credential's paths are inside of a caller's namespaces."""
    if principal.is_whole:
        return True
    return paths is not None and all(
        any(is_below(path, one) for one in principal.namespaces) for path in paths
    )


def may_be_sent(url: str, body: CredentialBody) -> bool:
    """Return whether a credential may be sent to a URL, parsed as the HTTP client parses it."""
    if body.allowed_hosts is None:
        return True
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return is_among(target.scheme, target.host, target.port, allowed=body.allowed_hosts)

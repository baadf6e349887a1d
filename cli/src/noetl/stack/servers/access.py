"""Logins at the edge of a local stack, and the keys that the stack makes for itself."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl.stack.datadir import Identity

TOKEN_VARIABLE = "NOETL_SESSION_TOKEN"  # noqa: S105 -- a name, not a token
"""The variable from which NoETL's own command line takes its token."""
_INTERNAL = "NOETL_INTERNAL_API_TOKEN"
_KEYS = "NOETL_ACCESS_KEYS"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ID_BYTES, _SECRET_BYTES = 6, 32


@dataclass(frozen=True, slots=True)
class StackAccess:
    """Settings about logins that the processes of a stack get.

    Attributes:
        is_on: whether callers must log in.
        admin_key: an API key of an administrator.
        worker_key: the API key of the stack's own workers.
    """

    is_on: bool
    admin_key: str = field(default="", repr=False)
    worker_key: str = field(default="", repr=False)

    def of_service(self, service: str, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process; those of the environment itself stay."""
        variables: dict[str, str] = {}
        if not self.is_on:
            return variables
        if service in {"api-gateway", "catalog"}:
            variables["NOETL_AUTH"] = "on"
        if service == "catalog":
            own = f"admin={self.admin_key},worker={self.worker_key}"
            others = inherited.get(_KEYS, "").strip(", ")
            variables[_KEYS] = f"{own},{others}" if others else own
        # A pool whose tools may use the internal token keeps it; others have no need of it.
        if service == "worker" and _INTERNAL not in inherited.get("NOETL_KEYCHAIN_ENV_VARS", ""):
            # Who shows a certificate that is somebody's and a key beside it is two callers.
            variables[_INTERNAL] = "" if _has_certificate(inherited) else self.worker_key
        return variables


def _has_certificate(environment: Mapping[str, str]) -> bool:
    names = ("NOETL_CLIENT_CERTIFICATES", "NOETL_TLS_CLIENT_CERT")
    return all(environment.get(name, "").strip() for name in names)


def stack_access(
    identity: Identity, host: str, environment: Mapping[str, str] | None = None
) -> StackAccess:
    """Return the logins of a stack, with keys made at first need.

    Args:
        identity: keeps the keys; has to be saved afterwards.
        host: the address that the edge is bound to.
        environment: where `NOETL_AUTH` is looked up.
    """
    env = os.environ if environment is None else environment
    is_on = needs_login(host, env)
    if is_on:
        identity.admin_key = identity.admin_key or _new_key()
        identity.worker_key = identity.worker_key or _new_key()
    return StackAccess(
        is_on=is_on,
        admin_key=identity.admin_key,
        worker_key=identity.worker_key,
    )


def needs_login(host: str, environment: Mapping[str, str]) -> bool:
    """Return whether callers must log in at an edge that is bound to an address."""
    mode = environment.get("NOETL_AUTH", "auto").strip().lower() or "auto"
    return mode == "on" or (mode == "auto" and host not in _LOOPBACK)


def _new_key() -> str:
    return f"nk_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"

"""The guard that limits the rate of costly requests by client; it runs after the login."""

import math
from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right, Role

from noetl_api_gateway.http.refusals import RETRY_AFTER, Refusal
from noetl_api_gateway.intake.peers import address_of
from noetl_api_gateway.metrics import REFUSED
from noetl_api_gateway.rates import Buckets, Rate

type Connection = ASGIConnection[Any, Any, Any, Any]

RATES_STATE = "rates"
"""Key of the application's state for the guard; None where rates are not limited."""
LOGINS_STATE = "logins"
"""Key of the application's state for the failed logins; None where they are not limited."""

_KINDS = {
    Right.EXECUTIONS_START: "starts",
    Right.EXECUTIONS_RERUN: "starts",
    Right.CATALOG_REGISTER: "registrations",
    Right.CREDENTIALS_LIST: "secrets",
    Right.CREDENTIALS_USE: "secrets",
    Right.CREDENTIALS_SEALED: "secrets",
    Right.CREDENTIALS_WRITE: "secrets",
    Right.CREDENTIALS_DELETE: "secrets",
    Right.KEYCHAIN_LIST: "secrets",
    Right.KEYCHAIN_USE: "secrets",
    Right.KEYCHAIN_WRITE: "secrets",
    Right.KEYCHAIN_DELETE: "secrets",
    Right.KEYS_MANAGE: "secrets",
    Right.SQL_EXECUTE: "sql",
}
"""Kinds of work by the right that a route needs."""
_UNBOUNDED = frozenset({Role.WORKER, Role.SYSTEM})


class RateGuard:
    """Refuse requests that exceed a client's rate.

    Args:
        rates: of one client, by kind of work.
    """

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        self._buckets = {kind: Buckets(rate) for kind, rate in rates.items()}

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Guard every route of the application, by itself or behind the gatekeeper.

        Raises:
            Refusal: 429, the client has to wait.
        """
        kind = _KINDS.get(handler.opt.get("needs", ""))
        buckets = None if kind is None else self._buckets.get(kind)
        if buckets is None or _is_unbounded(connection):
            return
        client = _client_of(connection)
        seconds = buckets.wait(client)
        if seconds:
            REFUSED.labels("rate").inc()
            raise too_often(f"Too many {kind} of this client", seconds)
        buckets.take(client)

    def take(self, kind: str, client: str) -> None:
        """Count one piece of work of a client that has no login.

        Raises:
            Refusal: 429, it has to wait.
        """
        buckets = self._buckets.get(kind)
        if buckets is None:
            return
        seconds = buckets.wait(client)
        if seconds:
            REFUSED.labels("rate").inc()
            raise too_often(f"Too many {kind} of this client", seconds)
        buckets.take(client)

    def charge(self, connection: Connection, kind: str, count: int) -> None:
        """Count the items of a batch beyond the first."""
        buckets = self._buckets.get(kind)
        if buckets is not None and count > 1 and not _is_unbounded(connection):
            buckets.take(_client_of(connection), count - 1)


def charge(connection: Connection, kind: str, count: int) -> None:
    """Count the items of a batch beyond the first, where rates are limited."""
    guard: RateGuard | None = connection.app.state.get(RATES_STATE)
    if guard is not None:
        guard.charge(connection, kind, count)


def too_often(text: str, seconds: float) -> Refusal:
    """Return the 429 for a request that may be repeated later."""
    return Refusal(429, text, headers={RETRY_AFTER: str(math.ceil(seconds))})


def _is_unbounded(connection: Connection) -> bool:
    """Return whether a caller is exempt, as it runs playbooks: their starts were limited."""
    principal = connection.scope.get("user")
    if not isinstance(principal, Principal):
        return False
    return principal.kind == "capability" or not _UNBOUNDED.isdisjoint(principal.roles)


def _client_of(connection: Connection) -> str:
    principal = connection.scope.get("user")
    if isinstance(principal, Principal):
        return f"{principal.kind}:{principal.name}"
    return f"address:{address_of(connection.scope)}"

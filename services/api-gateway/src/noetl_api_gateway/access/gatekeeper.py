"""The guard of all routes: it authenticates callers, and checks their rights and reach.

It runs before path and body are read. A route that declares no right is refused to all callers.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from noetl_bus.broker import Bus
from noetl_contract.access.audit import Decision
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right
from noetl_contract.http.scalars import parse_i64

from noetl_api_gateway.access.audit import AuditTrail, Decided
from noetl_api_gateway.access.identities import Identities
from noetl_api_gateway.access.reach import Reach
from noetl_api_gateway.access.shown import login_needed
from noetl_api_gateway.access.subscriptions import Subscriptions
from noetl_api_gateway.http.caller import note_caller
from noetl_api_gateway.http.fields import IDS
from noetl_api_gateway.http.rate_guard import RateGuard
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import ENCODED_SLASH
from noetl_api_gateway.intake.peers import address_of
from noetl_api_gateway.metrics import access_decisions
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.upstream.services import Services

type Connection = ASGIConnection[Any, Any, Any, Any]

_SERVED: ContextVar[Connection | None] = ContextVar("served", default=None)

GATEKEEPER_STATE = "gatekeeper"
"""Key of the application's state for the gatekeeper; None where no login is needed."""

STORED_FIRST = frozenset(
    {
        Right.CREDENTIALS_USE,
        Right.CREDENTIALS_SEALED,
        Right.CREDENTIALS_WRITE,
        Right.CREDENTIALS_DELETE,
        Right.KEYCHAIN_USE,
        Right.KEYCHAIN_WRITE,
        Right.KEYCHAIN_DELETE,
        Right.SECRETS_READ,
        Right.CROSS_REGION,
        Right.WALLET_ROTATE,
        Right.KEYS_MANAGE,
        Right.SQL_EXECUTE,
    }
)
"""Rights whose use is stored in the audit before the answer."""
_REPORTS = frozenset({Right.COMMANDS_CLAIM, Right.EVENTS_POST, Right.RESULTS_WRITE})
"""Rights of reports of commands: the log has each report, the audit counts them."""
_JUDGED_LATER = frozenset({Right.COMMANDS_CLAIM, Right.EVENTS_POST})
"""Rights of busy routes, where the orchestrator itself checks that a command is open."""
_OBJECTS = {
    "execution_id": "execution",
    "event_id": "event",
    "identifier": "credential",
    "catalog_id": "catalog",
    "playbook_id": "playbook",
    "suite_id": "suite",
    "subscription_id": "subscription",
    "path": "path",
    "listener": "listener",
    "key_id": "key",
}
_LONGEST = 200


class Gatekeeper:
    """Let requests pass, or refuse them.

    Args:
        settings: the accepted credentials.
        services: gives the services behind the edge; raises a refusal while they are awaited.
        bus: gives the connection, likewise.
        rates: of callers; None where they are not bounded.
    """

    def __init__(
        self,
        settings: Settings,
        services: Callable[[], Services],
        bus: Callable[[], Bus],
        rates: RateGuard | None = None,
    ) -> None:
        self.identities = Identities(settings, services, command_key=settings.command_key_bytes())
        self.audit = AuditTrail(bus)
        self.reach = Reach(services)
        self.subscriptions = Subscriptions(services, seconds=settings.listener_cache_seconds)
        self._rates = rates
        self._has_open_metrics = settings.auth_open_metrics

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Guard every route of the application.

        Raises:
            Refusal: 401, no valid credential; 403, a right is missing; 404, out of reach; 429,
                too many requests; 503, it can't be decided now.
        """
        right = handler.opt.get("needs")
        if right is Right.PUBLIC or (right is Right.METRICS_READ and self._has_open_metrics):
            self._note(connection, None, right, "allowed")
            return
        word = right if isinstance(right, Right) else Right.KEYS_MANAGE
        try:
            principal = await self.identities.of(connection.scope)
            if principal is None:
                raise login_needed("A login is needed: send `Authorization: Bearer <token>`")
        except Refusal as refusal:
            if refusal.status == 401:
                self._note(connection, None, word, "unauthenticated")
            raise
        connection.scope["user"] = principal
        if right is None or not principal.may(word):
            self._note(connection, principal, word, "forbidden")
            raise missing(word)
        if handler.opt.get("whole") and not principal.is_whole:
            self._note(connection, principal, word, "forbidden")
            raise Refusal(403, f"`{word}` on this route needs a caller that reaches all namespaces")
        await self._refuse_out_of_reach(connection, principal, word)
        note_caller(principal)
        _SERVED.set(connection)
        if self._rates is not None:
            try:
                await self._rates.guard(connection, handler)
            except Refusal:
                self._note(connection, principal, word, "limited")
                raise
        await self._allowed(connection, principal, word)

    async def demand(self, connection: Connection, right: Right) -> None:
        """Check one more right than the route's.

        Raises:
            Refusal: 403, it is missing.
        """
        principal = principal_of(connection)
        if principal is None:
            return
        if not principal.may(right):
            self._note(connection, principal, right, "forbidden")
            raise missing(right)
        await self._allowed(connection, principal, right)

    async def until_refused(
        self, scope: Mapping[str, Any], execution_id: int, *, right: Right
    ) -> None:
        """Wait until the caller of an open stream loses its access to it."""
        while True:
            await self.identities.doubt()
            if not await self._admits(scope, execution_id, right=right):
                return

    async def _admits(self, scope: Mapping[str, Any], execution_id: int, *, right: Right) -> bool:
        try:
            principal = await self.identities.of(scope)
            if principal is None or not principal.may(right):
                return False
            if not await self.reach.has_execution(principal, execution_id):
                return False
            return principal.event_id is None or await self.reach.is_open(principal)
        except Refusal as refusal:
            # A credential that can't be looked up now is asked again.
            return refusal.status != 401

    async def _refuse_out_of_reach(
        self, connection: Connection, principal: Principal, right: Right
    ) -> None:
        for number in _executions_of(connection):
            if await self.reach.has_execution(principal, number, is_read=_is_read(right)):
                continue
            self._note(connection, principal, right, "hidden")
            raise Refusal(404, f"Execution not found: {number}")
        is_command = principal.event_id is not None and right not in _JUDGED_LATER
        if is_command and not await self.reach.is_open(principal):
            self._note(connection, principal, right, "unauthenticated")
            raise login_needed("The command of this login is over")

    async def _allowed(self, connection: Connection, principal: Principal, right: Right) -> None:
        if right in STORED_FIRST:
            decided = _decided(connection, principal, right, "allowed")
            await self.audit.store(decided, _request_id(connection))
            access_decisions("allowed", principal.kind).inc()
        else:
            self._note(connection, principal, right, "allowed")

    def refused_here(self, right: Right, outcome: Decision) -> None:
        """Note a refusal of the request that this task serves."""
        connection = _SERVED.get()
        if connection is not None:
            self.refused(connection, right, outcome)

    def refused(self, connection: Connection, right: Right, outcome: Decision) -> None:
        """Note a refusal that only the body of the request decided."""
        self._note(connection, principal_of(connection), right, outcome)

    def _note(
        self,
        connection: Connection,
        principal: Principal | None,
        right: Right,
        outcome: Decision,
    ) -> None:
        decided = _decided(connection, principal, right, outcome)
        is_report = right in _REPORTS and outcome == "allowed"
        self.audit.note(decided, "" if is_report else _request_id(connection))
        access_decisions(outcome, decided.kind).inc()


async def demand(request: Connection, right: Right) -> None:
    """Check one more right than the route's, where a login is needed.

    Raises:
        Refusal: 403, it is missing.
    """
    gatekeeper = gatekeeper_of(request)
    if gatekeeper is not None:
        await gatekeeper.demand(request, right)


async def reach_execution(request: Connection, execution_id: int, right: Right) -> None:
    """Refuse an execution out of the caller's reach, named in the body or a URI.

    Raises:
        Refusal: 404, as if there were none.
    """
    gatekeeper, principal = gatekeeper_of(request), principal_of(request)
    if gatekeeper is None or principal is None:
        return
    if not await gatekeeper.reach.has_execution(principal, execution_id, is_read=_is_read(right)):
        gatekeeper.refused(request, right, "hidden")
        raise Refusal(404, f"Execution not found: {execution_id}")


def own_command(request: Connection, event_id: int, right: Right) -> None:
    """Refuse a command other than that of the caller's capability; other callers may have any.

    Raises:
        Refusal: 403, it is another one.
    """
    gatekeeper, principal = gatekeeper_of(request), principal_of(request)
    if gatekeeper is None or principal is None or principal.kind != "capability":
        return
    if principal.event_id != event_id:
        gatekeeper.refused(request, right, "forbidden")
        raise Refusal(403, "The login is that of another command")


def gatekeeper_of(request: Connection) -> Gatekeeper | None:
    """Return the application's gatekeeper; None where no login is needed."""
    found: Gatekeeper | None = request.app.state.get(GATEKEEPER_STATE)
    return found


def principal_of(connection: Connection) -> Principal | None:
    """Return the caller of a request; None where no login is needed."""
    found = connection.scope.get("user")
    return found if isinstance(found, Principal) else None


def missing(right: Right) -> Refusal:
    """Return the 403 for a known caller without a right."""
    return Refusal(403, f"The right `{right}` is missing")


def _decided(
    connection: Connection, principal: Principal | None, right: Right, outcome: Decision
) -> Decided:
    scope = connection.scope
    is_report = right in _REPORTS and outcome == "allowed"
    name = "" if principal is None else principal.name
    if is_report and principal is not None and principal.kind == "capability":
        name = "commands"
    return Decided(
        principal=name[:_LONGEST],
        kind="nobody" if principal is None else principal.kind,
        address=address_of(scope),
        right=right.value,
        method=str(scope.get("method", "")),
        route=scope.get("path_template") or "",
        object="" if is_report else _object_of(connection),
        outcome=outcome,
    )


def _is_read(right: Right) -> bool:
    return right in {Right.EXECUTIONS_READ, Right.RESULTS_READ, Right.RESULTS_RESOLVE}


def _executions_of(connection: Connection) -> list[int]:
    """Return the executions that path and query name; malformed ids are left to the route."""
    texts = [connection.path_params.get("execution_id")]
    if connection.scope["query_string"]:
        texts += connection.query_params.getall("execution_id", [])
    numbers = (parse_i64(text.strip()) for text in texts if isinstance(text, str))
    return [number for number in numbers if number is not None]


def _object_of(connection: Connection) -> str:
    for name, value in connection.path_params.items():
        kind = _OBJECTS.get(name)
        if kind is not None:
            # As the route reads it: the audit is asked for objects by their names.
            text = str(value).removeprefix("/").replace(ENCODED_SLASH, "/")
            number = parse_i64(text) if name in IDS else None
            return f"{kind}:{text if number is None else number}"[:_LONGEST]
    return ""


def _request_id(connection: Connection) -> str:
    # Not by the mapping of all headers, which costs more than the rest of the decision.
    sent = (value for name, value in connection.scope["headers"] if name == b"x-request-id")
    return next(sent, b"").decode("latin-1")[:64]

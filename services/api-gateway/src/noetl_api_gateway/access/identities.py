"""Authentication of callers: from a request's credentials to a principal.

The first credential that is present counts: a certificate, the bearer token, `X-Session-Token`,
the capability of a command, a trusted address. Credentials of two principals are refused, except
when a gateway passes on the session of a page: it knows its users itself.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from noetl_contract.access.capability import verified, verified_page
from noetl_contract.access.keys import API_KEY, GrantsRequest, TokenRequest
from noetl_contract.access.principal import EVERYWHERE, Principal
from noetl_contract.access.rights import Right, Role
from noetl_contract.http.system.database import SessionRequest
from noetl_contract.rpc.catalog import AUTH_GRANTS, AUTH_RESOLVE
from noetl_contract.rpc.projector import SESSIONS_VALIDATE

from noetl_api_gateway.access.jwt_tokens import JwtTokens, Proven, UnprovenError
from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.access.shown import Shown, login_needed, shown_by
from noetl_api_gateway.access_settings import AccessSettings
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.refusals import Refusal, busy, unavailable
from noetl_api_gateway.intake.peers import parsed
from noetl_api_gateway.upstream.services import Services

_MOST_KNOWN = 10_000
_MOST_UNKNOWN = 10_000
_MOST_LOOKUPS = 64
_MOST_WAITING = 1024
_PLACE_SECONDS = 5.0
_UNKNOWN_SECONDS = 2.0
_UNKNOWN = "The login is not known"
_OVER = "The session is over"
_BUSY = "Too many logins are being looked up"
_PROXIES = frozenset({Role.GATEWAY, Role.PAGES})
"""Roles of proxies that pass on the requests of others, with their sessions."""
_SECRET_READERS = frozenset({Role.WORKER, Role.SYSTEM})


class Identities:
    """Authenticate callers.

    Args:
        settings: the accepted credentials.
        services: gives the services behind the edge; raises a refusal while they are awaited.
        command_key: key of the capabilities of commands; empty: there are none.
    """

    def __init__(
        self, settings: AccessSettings, services: Callable[[], Services], *, command_key: bytes
    ) -> None:
        self._settings = settings
        self._services = services
        self._command_key = command_key
        self._internal_token = settings.internal_token()
        # A setting or a mac proves the same principal each time.
        self._system = self._widened(_with_role("internal", "token", Role.SYSTEM))
        self._networks = [
            (network, _with_role(f"{role}@{network}", "address", role))
            for role, network in settings.trusted_networks()
        ]
        self._certificates = {
            name: self._widened(_with_role(name, "certificate", role))
            for name, role in settings.certificate_roles().items()
        }
        self._of_command = lru_cache(_MOST_KNOWN)(self._proven_command)
        self._jwt = JwtTokens(settings)
        self._known: Memory[bytes, Principal] = Memory(_MOST_KNOWN)
        self._unknown: Memory[bytes, str] = Memory(_MOST_UNKNOWN)
        self._lookups: dict[bytes, asyncio.Task[Principal | str]] = {}
        self._places = asyncio.Semaphore(_MOST_LOOKUPS)
        self._generation = 0
        self._forgotten = asyncio.Event()

    def forget(self) -> None:
        """Drop all cached callers, as a key was revoked."""
        self._generation += 1
        self._known.clear()
        self._unknown.clear()
        self._lookups.clear()
        forgotten, self._forgotten = self._forgotten, asyncio.Event()
        forgotten.set()

    async def doubt(self) -> None:
        """Wait until admitted callers have to be checked again: after a revocation, or in time."""
        try:
            async with asyncio.timeout(self._settings.auth_cache_seconds):
                await self._forgotten.wait()
        except TimeoutError:
            pass

    async def of(self, scope: Mapping[str, Any]) -> Principal | None:
        """Return the caller of a request; None without any credential.

        Raises:
            Refusal: 401, its credentials are unknown, or of two principals; 503, they can't be
                looked up now.
        """
        shown = shown_by(scope)
        if shown.is_bare:
            return self._of_address(shown.address)
        certificate = await self._of_certificate(shown)
        if shown.is_session:
            proxy = certificate or self._of_address(shown.address)
            if proxy is not None and not _PROXIES.isdisjoint(proxy.roles):
                return await self._known_to(proxy, shown.tokens[0])
        found = [await self._of_token(token) for token in shown.tokens]
        if certificate is not None:
            found.insert(0, certificate)
        if shown.login is not None:
            command = self._of_command(*shown.login)
            # A worker with a certificate acts for its command.
            if not shown.tokens and (certificate is None or Role.WORKER in certificate.roles):
                return command
            found.append(command)
        if len({one.name for one in found}) > 1:
            raise login_needed("The logins that were sent are of two callers")
        return found[0] if found else self._of_address(shown.address)

    async def behind(self, token: str) -> Principal:
        """Return the holder of a token that came in a body or an address.

        Raises:
            Refusal: as `of`.
        """
        return await self._of_token(token)

    async def _known_to(self, proxy: Principal, session: str) -> Principal:
        """Return the user of a session that a gateway passes on; the gateway if it is unknown."""
        try:
            return await self._of_token(session)
        except Refusal as refusal:
            # A key that is revoked, or a token without a grant, is known here and opens nothing.
            if refusal.text not in {_UNKNOWN, _OVER}:
                raise
            return proxy

    def _of_address(self, address: str) -> Principal | None:
        if not self._networks:
            return None
        peer = parsed(address)
        if peer is None:
            return None
        for network, principal in self._networks:
            if peer.version == network.version and peer in network:
                return principal
        return None

    def _proven_command(self, user: str, password: str) -> Principal:
        page = verified_page(user, password, self._command_key)
        if page is not None:
            return Principal(
                name=f"request:{page.request_id}", kind="capability", request_id=page.request_id
            )
        capability = verified(user, password, self._command_key)
        if capability is None:
            raise login_needed(_UNKNOWN)
        return Principal(
            name=f"command:{capability.execution_id}.{capability.event_id}",
            kind="capability",
            execution_id=capability.execution_id,
            event_id=capability.event_id,
        )

    async def _of_certificate(self, shown: Shown) -> Principal | None:
        """Return the principal configured for one of the certificate's names."""
        for name in shown.names:
            principal = self._certificates.get(name)
            if principal is not None:
                return principal
        if not shown.names:
            return None
        mark = hashlib.sha256("\n".join(shown.names).encode()).digest()

        async def look_up() -> Principal | str:
            for name in shown.names:
                wanted = GrantsRequest(kind="certificate", subject=name)
                found = await self._services().ask(AUTH_GRANTS, wanted)
                if found.principal is not None:
                    return found.principal
            return _UNKNOWN

        # One without a grant was only let in to show something else.
        found = await self._remembered(mark, look_up)
        return found if isinstance(found, Principal) else None

    async def _of_token(self, token: str) -> Principal:
        sent = token.encode()
        if self._internal_token and hmac.compare_digest(sent, self._internal_token):
            return self._system
        mark = hashlib.sha256(sent).digest()
        found = await self._remembered(mark, lambda: self._looked_up(token))
        if isinstance(found, Principal):
            return found
        raise login_needed(found)

    async def _looked_up(self, token: str) -> Principal | str:
        if API_KEY.fullmatch(token):
            found = await self._services().ask(AUTH_RESOLVE, TokenRequest(token=token))
            return found.principal or _why("API key", found.reason)
        if self._jwt.is_configured and token.count(".") == 2:
            try:
                return await self._of_jwt(await self._jwt.proven_by(token))
            except UnprovenError as error:
                return str(error)
        if self._settings.auth_session_credential:
            return await self._of_session(token)
        return _UNKNOWN

    async def _of_jwt(self, proven: Proven) -> Principal | str:
        wanted = GrantsRequest(
            kind="jwt",
            issuer=self._settings.oidc_issuer,
            subject=proven.subject,
            values=proven.values,
        )
        return await self._granted(wanted, proven.expires_at)

    async def _of_session(self, token: str) -> Principal | str:
        """Look up a browser's session in the configured database."""
        credential = self._settings.auth_session_credential
        wanted = SessionRequest(session_token=token, credential=credential)
        answer = await self._services().ask(SESSIONS_VALIDATE, wanted, within="sql")
        if answer.status != "ok":
            raise unavailable("The database of sessions did not answer")
        if not answer.valid or answer.user is None:
            return _OVER
        grants = GrantsRequest(
            kind="session",
            subject=answer.user.email,
            values=tuple(f"roles:{role}" for role in answer.user.roles),
        )
        end = datetime.fromisoformat(answer.expires_at) if answer.expires_at else None
        return await self._granted(grants, end and end.replace(tzinfo=end.tzinfo or UTC))

    async def _granted(self, wanted: GrantsRequest, end: datetime | None) -> Principal | str:
        found = await self._services().ask(AUTH_GRANTS, wanted)
        if found.principal is None:
            return f"Nothing is granted to {wanted.subject}"
        return found.principal.model_copy(update={"expires_at": end})

    async def _remembered(
        self, mark: bytes, look_up: Callable[[], Awaitable[Principal | str]]
    ) -> Principal | str:
        """Return a cached result, or look it up, once for all concurrent callers."""
        known = self._known.get(mark) or self._unknown.get(mark)
        if known is not None:
            return known
        task = self._lookups.get(mark)
        if task is None:
            # Guesses make other look-ups wait for their turn, but keep none of them out.
            if len(self._lookups) >= _MOST_WAITING:
                raise busy(_BUSY)
            with as_the_edge():
                task = asyncio.create_task(self._found(mark, look_up, self._generation))
            self._lookups[mark] = task
        # A caller that leaves meanwhile doesn't cancel the look-up for the others.
        return await asyncio.shield(task)

    async def _found(
        self,
        mark: bytes,
        look_up: Callable[[], Awaitable[Principal | str]],
        generation: int,
    ) -> Principal | str:
        try:
            found = await self._in_turn(look_up)
        finally:
            if generation == self._generation:
                self._lookups.pop(mark, None)
        if isinstance(found, str):
            if generation == self._generation:
                self._unknown.put(mark, found, seconds=_UNKNOWN_SECONDS)
            return found
        seconds = self._settings.auth_cache_seconds
        if found.expires_at is not None:
            seconds = min(seconds, (found.expires_at - datetime.now(UTC)).total_seconds())
            if seconds <= 0:
                return "The login has expired"
        principal = self._widened(found)
        if generation == self._generation:
            self._known.put(mark, principal, seconds=seconds)
        return principal

    async def _in_turn(self, look_up: Callable[[], Awaitable[Principal | str]]) -> Principal | str:
        """Look up, a few at a time; raises busy where there is no place for long."""
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise busy(_BUSY) from None
        try:
            return await look_up()
        finally:
            self._places.release()

    def _widened(self, principal: Principal) -> Principal:
        """Add the rights that a setting grants to roles."""
        if not self._settings.auth_workers_read_secrets or _SECRET_READERS.isdisjoint(
            principal.roles
        ):
            return principal
        grants = (*principal.grants, Right.SECRETS_READ)
        return principal.model_copy(update={"grants": grants})


def _with_role(name: str, kind: Any, role: Role) -> Principal:
    return Principal(name=name, kind=kind, roles=(role,), namespaces=(EVERYWHERE,))


def _why(what: str, reason: str | None) -> str:
    return f"The {what} is {reason or 'unknown'}"

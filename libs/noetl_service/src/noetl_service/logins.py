"""Logins that are stored credentials, which services read from the catalog."""

import asyncio
from time import monotonic
from typing import Protocol

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.logins import Login, LoginSource, LoginUnreadable
from noetl_contract.json import JsonObject
from noetl_contract.rpc.catalog import CREDENTIAL_PLATFORM, CredentialName
from pydantic import SecretStr

_ASK_SECONDS = 5.0
_REST_SECONDS = 1.0
_PASSWORDS = ("db_password", "password")
_log = get_logger()


class HasStoredLogin(Protocol):
    """Settings of a database whose password may be a stored credential."""

    @property
    def postgres_user(self) -> str: ...
    @property
    def postgres_password(self) -> SecretStr: ...
    @property
    def postgres_credential(self) -> str: ...


class StoredCredential:
    """The fields of a credential of the platform, cached, and reread when old or refused.

    Many may want it at once: it is asked for once, and after a refusal once a second at most.

    Args:
        rpc: asks the catalog.
        name: of the credential.
        young_seconds: how long what was read is used without asking again.
    """

    def __init__(self, rpc: RpcClient, name: str, *, young_seconds: float = 60.0) -> None:
        self._rpc = rpc
        self._name = name
        self._young_seconds = young_seconds
        self._fields: JsonObject | None = None
        self._read_at = self._read_again_at = float("-inf")
        self._lock = asyncio.Lock()

    async def fields(self) -> JsonObject:
        """Return the fields; those read earlier while the catalog doesn't answer.

        Raises:
            LoginUnreadable: they were never read, and can't be now.
        """
        async with self._lock:
            known = self._fields
            if known is not None and monotonic() - self._read_at < self._young_seconds:
                return known
            try:
                return await self._read()
            except LoginUnreadable as error:
                if known is None:
                    raise
                _log.warning("credential_not_read", credential=self._name, error=str(error))
                self._read_at = monotonic()
                return known

    async def after_refusal(self, refused: JsonObject | None) -> JsonObject:
        """Return the fields after those of ``refused`` were refused; the same if nothing is new.

        Raises:
            LoginUnreadable: they can't be read now.
        """
        async with self._lock:
            known = self._fields
            rests = monotonic() - self._read_again_at < _REST_SECONDS
            if known is not None and (rests or known != refused):
                return known
            try:
                return await self._read()
            finally:
                # The rest begins with the answer: those that wait for it meanwhile share it.
                self._read_again_at = monotonic()

    async def _read(self) -> JsonObject:
        try:
            found = await self._rpc.ask(
                CREDENTIAL_PLATFORM, CredentialName(identifier=self._name), seconds=_ASK_SECONDS
            )
        except (RpcRefused, RpcUnavailable) as error:
            raise self._unreadable(error) from error
        if not isinstance(found.data, dict):
            raise LoginUnreadable(f"the credential '{self._name}' has no fields")
        if self._fields is not None and found.data != self._fields:
            _log.info("credential_changed", credential=self._name)
        self._fields, self._read_at = found.data, monotonic()
        return found.data

    def _unreadable(self, error: NoetlError) -> LoginUnreadable:
        return LoginUnreadable(f"the credential '{self._name}' can't be read: {error.message}")


class StoredLogin:
    """A role whose password is a field of a stored credential.

    Args:
        user: the role.
        credential: has `db_password` or `password`.
        first: a password to begin with, before the catalog is asked; empty for none.
    """

    def __init__(self, user: str, credential: StoredCredential, *, first: str = "") -> None:
        self._user = user
        self._credential = credential
        self._first = first
        self._seen: JsonObject | None = None

    async def current(self) -> Login:
        """Return the first password until it is refused, then that of the credential."""
        if self._first:
            return Login(self._user, self._first)
        return self._of(await self._credential.fields())

    async def after_refusal(self, refused: Login) -> Login:
        """Return the login with the password that the credential holds now."""
        was = self._seen if self._seen and self._of(self._seen) == refused else None
        found = self._of(await self._credential.after_refusal(was))
        self._first = ""
        return found

    def _of(self, fields: JsonObject) -> Login:
        password = next((fields[name] for name in _PASSWORDS if fields.get(name)), None)
        if not isinstance(password, str):
            raise LoginUnreadable("the credential of the database has no text as 'password'")
        self._seen = fields
        return Login(self._user, password)


def database_login(settings: HasStoredLogin, bus: Bus) -> LoginSource | None:
    """Return the source of the login of a shard's database; None without a credential."""
    if settings.postgres_credential:
        return StoredLogin(
            settings.postgres_user,
            StoredCredential(RpcClient(bus), settings.postgres_credential),
            first=settings.postgres_password.get_secret_value(),
        )
    return None

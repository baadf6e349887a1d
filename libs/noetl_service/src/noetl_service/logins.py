"""Logins from stored credentials, which services read from the catalog."""

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

_READ_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
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
    """The cached fields of a platform credential; they are read again when old or refused.

    Concurrent callers share one read. After refusals, there is at most one read a second.

    Args:
        rpc: client of the catalog.
        name: name of the credential.
        young_seconds: time for which cached fields are used without a new read.
    """

    def __init__(self, rpc: RpcClient, name: str, *, young_seconds: float = 60.0) -> None:
        self._rpc = rpc
        self._name = name
        self._young_seconds = young_seconds
        self._fields: JsonObject | None = None
        self._read_at = self._reread_at = float("-inf")
        self._lock = asyncio.Lock()

    async def fields(self) -> JsonObject:
        """Return the fields; while the catalog doesn't answer, return the cached fields.

        Raises:
            LoginUnreadable: the read failed, and no fields are cached.
        """
        async with self._lock:
            cached = self._fields
            if cached is not None and monotonic() - self._read_at < self._young_seconds:
                return cached
            try:
                return await self._read()
            except LoginUnreadable as error:
                if cached is None:
                    raise
                _log.warning("credential_not_read", credential=self._name, error=str(error))
                self._read_at = monotonic()
                return cached

    async def after_refusal(self, refused: JsonObject | None) -> JsonObject:
        """Return the fields after ``refused`` was refused; the same ones if nothing has changed.

        Raises:
            LoginUnreadable: the fields can't be read now.
        """
        async with self._lock:
            cached = self._fields
            is_pausing = monotonic() - self._reread_at < _PAUSE_SECONDS
            if cached is not None and (is_pausing or cached != refused):
                return cached
            try:
                return await self._read()
            finally:
                # The pause begins after the read, so that waiting callers share the result.
                self._reread_at = monotonic()

    async def _read(self) -> JsonObject:
        try:
            found = await self._rpc.ask(
                CREDENTIAL_PLATFORM, CredentialName(identifier=self._name), seconds=_READ_SECONDS
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
        credential: the credential; its field is `db_password` or `password`.
        first: password for the first attempt, without a request to the catalog; may be empty.
    """

    def __init__(self, user: str, credential: StoredCredential, *, first: str = "") -> None:
        self._user = user
        self._credential = credential
        self._first = first
        self._last: JsonObject | None = None

    async def current(self) -> Login:
        """Return the first password until it is refused, then the password of the credential."""
        if self._first:
            return Login(self._user, self._first)
        return self._login(await self._credential.fields())

    async def after_refusal(self, refused: Login) -> Login:
        """Return the login with the current password of the credential."""
        is_same = self._last is not None and self._login(self._last) == refused
        fields = await self._credential.after_refusal(self._last if is_same else None)
        self._first = ""
        return self._login(fields)

    def _login(self, fields: JsonObject) -> Login:
        password = next((fields[name] for name in _PASSWORDS if fields.get(name)), None)
        if not isinstance(password, str):
            raise LoginUnreadable("the credential of the database has no text as 'password'")
        self._last = fields
        return Login(self._user, password)


def database_login(settings: HasStoredLogin, bus: Bus) -> LoginSource | None:
    """Return the source of a shard's database login, or None if it has no credential."""
    if settings.postgres_credential:
        return StoredLogin(
            settings.postgres_user,
            StoredCredential(RpcClient(bus), settings.postgres_credential),
            first=settings.postgres_password.get_secret_value(),
        )
    return None

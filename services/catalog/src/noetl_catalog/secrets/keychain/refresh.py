"""Refresh tokens of stored credentials, which an issuer may replace each time one is sent.

A token is sent by one process at a time, over all entries of keychains that name its credential:
an issuer that replaces it takes a second use for a theft. The new token is stored before any caller
gets the access token. Neither a caller that has gone nor the end of the service interrupts that,
since no other process knows the new token.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_catalog.providers.provider import Replaced, Secret
from noetl_catalog.secrets.audit import Action, Audit, Reader
from noetl_catalog.secrets.keychain.renewal import Renewals
from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.store import SecretStore

_STORE_SECONDS = 60.0
_log = get_logger()


class RefreshTokens:
    """Uses refresh tokens one at a time, and stores the tokens that replace them.

    Args:
        store: of credentials.
        box: encrypts them.
        audit: has a record of each that is replaced.
        renewals: leases that all catalogs see.
    """

    def __init__(
        self, store: SecretStore, *, box: SecretBox, audit: Audit, renewals: Renewals
    ) -> None:
        self._store = store
        self._box = box
        self._audit = audit
        self._renewals = renewals
        self._uses: set[asyncio.Task[Secret]] = set()

    async def use(
        self,
        credential: str,
        *,
        fetch: Callable[[], Awaitable[Secret]],
        keep: Callable[[Secret], Awaitable[None]],
        execution_id: int,
    ) -> Secret:
        """Exchange a credential's refresh token at its issuer, and store a new one.

        Args:
            credential: its name.
            fetch: reads the credential and asks the issuer.
            keep: keeps the access token, after the refresh token is stored.
            execution_id: for which it is, for the audit.

        Raises:
            ProviderFailed: the issuer gave nothing, or others use the token for too long.
            NoetlError: what replaces it can't be stored.
        """

        async def work() -> Secret:
            found = await self._store.find_credential(credential)
            # No name of an entry is empty, so this is no entry's lease.
            key = f":{found.body.name if found else credential}"
            async with self._renewals.alone(key) as seconds:
                async with asyncio.timeout(seconds):
                    fetched = await fetch()
                if fetched.replaced is not None:
                    await self._replace(credential, fetched.replaced, execution_id)
                await keep(fetched)
            return fetched

        task = asyncio.create_task(work(), name="use of a refresh token")
        self._uses.add(task)
        task.add_done_callback(self._uses.discard)
        return await asyncio.shield(task)

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait until all uses have ended."""
        if self._uses:
            await asyncio.wait(self._uses)

    async def _replace(self, credential: str, replaced: Replaced, execution_id: int) -> None:
        """Store a new refresh token, unless another one was stored meanwhile.

        Raises:
            NoetlError: it can't be stored, for a minute.
        """
        error: NoetlError | None = None
        async for _ in backoff(
            first_seconds=0.1, longest_seconds=2.0, total_seconds=_STORE_SECONDS, jitter=0.5
        ):
            try:
                if await self._replaced(credential, replaced, execution_id):
                    return
            except NoetlError as failure:
                error = failure
                if isinstance(failure, Permanent):
                    break
        _log.error(
            "refresh_token_not_stored",
            credential=credential,
            error=error.message if error else "the credential is changed all the time",
        )
        if error is not None:
            raise error

    async def _replaced(self, credential: str, replaced: Replaced, execution_id: int) -> bool:
        """Try to store it; False when the record was changed at the same time, as by a rotation."""
        found = await self._store.find_credential(credential)
        if found is None:
            return True
        row = row_of("credential", found.body.name)
        value = (await self._box.open(found.data_encrypted, row=row)).value
        if not isinstance(value, dict) or value.get(replaced.name) != replaced.sent:
            # A newer token was stored meanwhile, and counts.
            return True
        closed = await self._box.close(value | {replaced.name: replaced.now}, row=row)
        return await self._store.replace_data(
            found,
            data_encrypted=closed.text,
            audit=self._audit.row(
                found.body.name,
                Action.PUT_CREDENTIAL,
                reader=Reader(execution_id=execution_id),
                kek_version=closed.key_version,
                notes="replaced by its issuer",
            ),
        )

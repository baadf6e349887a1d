"""Readiness check of the encryption key."""

from contextlib import suppress
from time import monotonic

from noetl_common.crypto.errors import WrongRow

from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.keys.manager import KeyManager, KeyMissing
from noetl_catalog.secrets.store import SecretStore

_NONE_SECONDS = 60.0


class KeyCheck:
    """Checks that a key is configured and opens the newest stored credential.

    A key doesn't change while a process lives, so one success is enough. While no credential is
    stored, one is looked for once a minute.
    """

    def __init__(self, keys: KeyManager, *, store: SecretStore, box: SecretBox) -> None:
        self._keys = keys
        self._store = store
        self._box = box
        self._is_proven = not keys.is_durable
        self._ask_again_at = 0.0

    async def run(self) -> None:
        """Readiness check.

        Raises:
            NoetlError: the key is missing or wrong.
        """
        if not self._keys.has_keys:
            raise KeyMissing
        if self._is_proven or monotonic() < self._ask_again_at:
            return
        newest = await self._store.probe_credential()
        if newest is not None:
            name, text = newest
            # One record in the wrong row says nothing about the key.
            with suppress(WrongRow):
                await self._box.open(text, row=row_of("credential", name))
            self._is_proven = True
        else:
            self._ask_again_at = monotonic() + _NONE_SECONDS

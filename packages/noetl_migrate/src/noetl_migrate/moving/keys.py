"""Secrets of the existing server in all forms in which it stored them, and those of ours."""

import base64
import binascii
import os
from collections.abc import Mapping

import orjson
from noetl.stack.errors import StackError
from noetl_common.crypto.envelope import Envelope as Record
from noetl_common.crypto.envelope import decode_envelope, encode_secret, new_data_key
from noetl_common.crypto.errors import BadKey, DecryptionFailed, NotAnEnvelope, WrongProvider
from noetl_common.crypto.local_keys import LocalKeys, MasterKey, decode_key, decode_keys
from noetl_common.errors import NoetlError
from noetl_contract.json import Json

from noetl_migrate.moving.rows import OldSecret

LEGACY_KEY = "NOETL_LEGACY_ENCRYPTION_KEY"
_KEY = "NOETL_ENCRYPTION_KEY"


class Keys:
    """The keys of one server.

    Args:
        keys: wraps and unwraps; None where there is no key.
        reason: why there is no key.
    """

    def __init__(self, keys: LocalKeys | None, *, reason: str = "") -> None:
        self._keys = keys
        self.reason = reason

    @classmethod
    def of_legacy(cls, text: str) -> "Keys":
        """Return the key of the existing server.

        Raises:
            StackError: it is none.
        """
        if not text.strip():
            return cls(None, reason=f"its key is not known: give --key-file or {LEGACY_KEY}")
        try:
            return cls(LocalKeys(MasterKey("v1", decode_key(text))))
        except BadKey as error:
            raise StackError(f"the existing server's key: {error.message}") from None

    @classmethod
    def of_ours(cls, known: str, env: Mapping[str, str] | None = None) -> "Keys":
        """Return the keys with which this installation encrypts.

        Args:
            known: the key of a local stack; empty: the environment names it.
            env: the environment.

        Raises:
            StackError: a key is none.
        """
        env = os.environ if env is None else env
        provider = env.get("NOETL_KMS_PROVIDER", "").strip() or "local"
        if provider != "local":
            reason = f"NOETL_KMS_PROVIDER is {provider}: store it through this server's API"
            return cls(None, reason=reason)
        text = env.get(_KEY, "").strip() or known
        if not text:
            return cls(None, reason=f"{_KEY} is not set, with which this installation encrypts")
        try:
            current = MasterKey(env.get(f"{_KEY}_VERSION") or "v1", decode_key(text))
            earlier = decode_keys(env.get("NOETL_ENCRYPTION_KEYS_EARLIER", ""))
            keys = LocalKeys(current, earlier=earlier)
        except BadKey as error:
            raise StackError(f"{_KEY}: {error.message}") from None
        return cls(keys)

    def open(self, text: str, *, row: str = "") -> OldSecret:
        """Return the content of a row: an envelope, a text without a data key, or plain JSON.

        Its ``trouble`` never quotes any of it.
        """
        try:
            plaintext = self._plaintext(text, row)
        except NoetlError as error:
            return OldSecret(trouble=error.message)
        if plaintext is None:
            return OldSecret(trouble=self.reason)
        try:
            return OldSecret(value=orjson.loads(plaintext))
        except orjson.JSONDecodeError:
            return OldSecret(trouble="what it holds is no JSON")

    def seal(self, value: Json, *, row: str) -> str | None:
        """Return the text for a row of ours; None without a key."""
        if self._keys is None:
            return None
        data_key = new_data_key()
        record = Record.seal(
            encode_secret(value),
            data_key=data_key,
            dek=self._keys.wrap(data_key),
            row=row,
        )
        return record.encode()

    def _plaintext(self, text: str, row: str) -> bytes | None:
        try:
            record = decode_envelope(text)
        except NotAnEnvelope:
            return self._bare_or_plain(text)
        if self._keys is None:
            return None
        try:
            return record.open(self._keys.unwrap(record.dek), row=row)
        except WrongProvider:
            reason = (
                f"its key is wrapped by {record.dek.provider}, so that only the server itself can "
                "read it: import from the server's address"
            )
            raise DecryptionFailed(reason=reason) from None

    def _bare_or_plain(self, text: str) -> bytes | None:
        try:
            blob = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            return text.encode()
        return None if self._keys is None else self._keys.open_bare(blob)

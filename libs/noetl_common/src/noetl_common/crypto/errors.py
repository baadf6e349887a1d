"""Errors of keys and encrypted texts; no message quotes either."""

from noetl_common.errors import Permanent


class BadKey(Permanent):
    """A configured key is unusable."""

    template = "{reason}"
    http_status = 500


class NotAnEnvelope(Permanent):
    """A stored text is no envelope record."""

    template = "not a wallet envelope record: {reason}"
    http_status = 500


class DecryptionFailed(Permanent):
    """No known key opens a ciphertext, or it was damaged."""

    template = "Decryption failed: {reason}"
    http_status = 500


class WrongRow(DecryptionFailed):
    """A record was encrypted for another row."""

    template = "Decryption failed: the record of {row} is another row's, or damaged"


class WrongProvider(Permanent):
    """A record's key was wrapped by another key manager than the active one."""

    template = "{manager} cannot unwrap a DEK from provider '{provider}'"
    http_status = 500


class SealingFailed(Permanent):
    """A public key can't be used for sealing."""

    template = "Encryption failed: {reason}"
    http_status = 500

"""Errors of keys and ciphertexts; the messages quote neither."""

from noetl_common.errors import Permanent


class BadKey(Permanent):
    """A configured key is unusable."""

    template = "{reason}"
    http_status = 500


class NotAnEnvelope(Permanent):
    """A stored text is not a valid envelope record."""

    template = "not a wallet envelope record: {reason}"
    http_status = 500


class DecryptionFailed(Permanent):
    """No known key decrypts a ciphertext, or the ciphertext is damaged."""

    template = "Decryption failed: {reason}"
    http_status = 500


class WrongRow(DecryptionFailed):
    """A record was encrypted for another row."""

    template = "Decryption failed: the record of {row} is another row's, or damaged"


class WrongProvider(Permanent):
    """The data key of a record was wrapped by a key manager other than the active one."""

    template = "{manager} cannot unwrap a DEK from provider '{provider}'"
    http_status = 500


class SealingFailed(Permanent):
    """A public key is not usable for sealing."""

    template = "Encryption failed: {reason}"
    http_status = 500

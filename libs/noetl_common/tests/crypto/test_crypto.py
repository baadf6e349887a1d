"""Envelopes, keys and seals against vectors of earlier versions."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from noetl_common.crypto.aead import encrypt
from noetl_common.crypto.envelope import Envelope, WrappedKey, decode_envelope, new_data_key
from noetl_common.crypto.errors import (
    BadKey,
    DecryptionFailed,
    NotAnEnvelope,
    SealingFailed,
    WrongProvider,
)
from noetl_common.crypto.local_keys import LocalKeys, MasterKey, decode_key, decode_keys
from noetl_common.crypto.sealed import decode_public_key, seal
from noetl_contract.http.secrets.credentials import SealedEnvelope

MASTER = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
RECORD = (
    '{"v":1,"alg":"AES-256-GCM","ct":"IiIiIiIiIiIiIiIibNVma/r+4pzqgxf9hZV5qCBtL1FAxmg=",'
    '"dek":{"p":"local","kid":"env:NOETL_ENCRYPTION_KEY","kv":"v1",'
    '"ct":"MzMzMzMzMzMzMzMzVAGR+3CxCPQ0UBX4pnFqowAwxwlz4bnVZzEyyZUIqi0dlQ70/6sj1BQ3wKEmljMG"}}'
)
CANARY = "s3cret-canary"


def make_keys(version: str = "v1", byte: int = 1, **earlier: int) -> LocalKeys:
    return LocalKeys(
        MasterKey(version, bytes([byte]) * 32),
        earlier=[MasterKey(name, bytes([value]) * 32) for name, value in earlier.items()],
    )


def sealed_under(keys: LocalKeys, plaintext: bytes) -> Envelope:
    data_key = new_data_key()
    return Envelope.seal(plaintext, data_key=data_key, dek=keys.wrap(data_key))


def test_envelope_equals_the_contracts_vector() -> None:
    drawn = iter([b"\x11" * 32, b"\x33" * 12, b"\x22" * 12])

    def random(size: int) -> bytes:
        made = next(drawn)
        assert len(made) == size
        return made

    keys = LocalKeys(MasterKey("v1", decode_key(MASTER)), random=random)
    data_key = new_data_key(random)
    made = Envelope.seal(b'{"a":1}', data_key=data_key, dek=keys.wrap(data_key), random=random)

    assert made.encode() == RECORD


def test_contracts_vector_is_read() -> None:
    keys = LocalKeys(MasterKey("v1", decode_key(MASTER)))
    read = decode_envelope(f" {RECORD}\n")

    assert (read.dek.provider, read.dek.version) == ("local", "v1")
    assert read.open(keys.unwrap(read.dek)) == b'{"a":1}'


@given(st.binary(max_size=200))
def test_what_was_encrypted_is_read_back(plaintext: bytes) -> None:
    keys = make_keys()
    stored = sealed_under(keys, plaintext).encode()
    read = decode_envelope(stored)

    assert read.open(keys.unwrap(read.dek)) == plaintext
    assert sealed_under(keys, plaintext).encode() != stored


def test_rewrapping_keeps_the_ciphertext_and_leaves_the_old_key_useless() -> None:
    old, both = make_keys("v1", 1), make_keys("v2", 2, v1=1)
    new = make_keys("v2", 2)
    record = sealed_under(old, b"x")
    turned = record.rewrapped(both.wrap(both.unwrap(record.dek)))

    assert (both.is_current(record.dek), both.is_current(turned.dek)) == (False, True)
    assert turned.ciphertext == record.ciphertext
    assert turned.open(new.unwrap(turned.dek)) == b"x"
    with pytest.raises(DecryptionFailed, match="Decryption failed: aead::Error"):
        old.unwrap(turned.dek)


def test_key_changed_under_the_same_version_is_not_current() -> None:
    record = sealed_under(make_keys("v1", 1), b"x")
    changed = make_keys("v1", 2, old=1)

    assert not changed.is_current(record.dek)
    assert record.open(changed.unwrap(record.dek)) == b"x"


def test_bare_ciphertexts_of_earlier_versions_are_opened_by_any_key() -> None:
    blob = encrypt(b"\x01" * 32, b"{}")

    assert make_keys("v2", 2, v1=1).open_bare(blob) == b"{}"
    with pytest.raises(DecryptionFailed):
        make_keys("v2", 2).open_bare(blob)
    with pytest.raises(DecryptionFailed, match="Ciphertext too short"):
        make_keys().open_bare(b"short")


def test_key_of_another_manager_is_refused_by_name() -> None:
    dek = WrappedKey(provider="gcp-kms", key_id="k", version="1", ciphertext=b"")

    with pytest.raises(WrongProvider, match=r"LocalDevKms cannot unwrap a DEK from .*'gcp-kms'"):
        make_keys().unwrap(dek)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CANARY, "not a wallet envelope record: "),
        (f'{{"password":"{CANARY}"}}', "not a wallet envelope record: missing field `v`"),
        (f'["{CANARY}"]', "not a wallet envelope record: expected struct"),
        (f'{{"v":"{CANARY}"}}', "not a wallet envelope record: invalid type of field `v`"),
        (f'{{"v":1,"alg":"a","ct":"","dek":"{CANARY}"}}', "invalid type of field `dek`"),
        ('{"v":1,"alg":"a","ct":"","dek":{"p":"local"}}', "missing field `kid`"),
        (RECORD.replace('"ct":"Ii', f'"ct":"!{CANARY}'), "envelope ct base64: "),
        (RECORD.replace('"ct":"Mz', f'"ct":"!{CANARY}'), "envelope dek base64: "),
    ],
)
def test_other_texts_are_no_records_and_are_not_quoted(text: str, message: str) -> None:
    with pytest.raises(NotAnEnvelope) as caught:
        decode_envelope(text)

    assert message in caught.value.message
    assert CANARY not in f"{caught.value!r} {caught.value.context}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!" + CANARY, "Invalid base64 key: "),
        (base64.b64encode(b"x" * 31).decode(), "Invalid key length: expected 32 bytes, got 31"),
    ],
)
def test_unusable_keys_are_named_and_not_quoted(text: str, message: str) -> None:
    for decode in (decode_key, lambda text: decode_keys(f"v1={text}")):
        with pytest.raises(BadKey) as caught:
            decode(text)

        assert message in caught.value.message
        assert CANARY not in repr(caught.value)


def test_list_of_earlier_keys() -> None:
    listed = decode_keys(f"v1={MASTER}, v0={MASTER},")

    assert [key.version for key in listed] == ["v1", "v0"]
    assert "material" not in repr(listed)
    with pytest.raises(BadKey, match="earlier key 1 is not of the form"):
        decode_keys(CANARY)
    with pytest.raises(BadKey, match="two encryption keys have the version 'v1'"):
        LocalKeys(listed[0], earlier=listed)


def test_seal_equals_the_contracts_vector() -> None:
    recipient = X25519PrivateKey.from_private_bytes(b"\x44" * 32).public_key().public_bytes_raw()
    ephemeral = X25519PrivateKey.from_private_bytes(b"\x55" * 32)

    assert base64.b64encode(recipient) == b"/y7kVgHsG2cxDHeQQEWFrmlzMe7hwfjPJBlzHB//Pms="
    assert seal(b'{"id":"1"}', recipient=recipient, ephemeral=ephemeral) == SealedEnvelope(
        alg="x25519-hkdf-sha256-chacha20-poly1305",
        v=1,
        eph_pub="OKtmS9hvd9fma92a4HkpE6lP2LM6EmACfktGwfSITGc=",
        ciphertext="aHOXH6wT5qTWDJhGUeUjOX11o/0y8Pup9LE=",
    )


def test_point_of_low_order_is_refused() -> None:
    with pytest.raises(SealingFailed):
        seal(b"x", recipient=bytes(32))


def test_recipients_key_is_checked_with_the_callers_words() -> None:
    with pytest.raises(BadKey, match=r"^b64: "):
        decode_public_key("!", base64_text="b64: {error}", length_text="")
    with pytest.raises(BadKey, match=r"^got 1$"):
        decode_public_key("AA==", base64_text="", length_text="got {length}")

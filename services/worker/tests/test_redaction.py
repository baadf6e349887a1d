"""Secrets by their key, their look, and by being known."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from noetl_worker.redaction import REDACTED, is_heavy, scrub, spellings_of


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("password", True), ("Db-Password", True), ("author", True), ("token_count", True),
        ("passport_cert_no", True), ("client_secret", True), ("apiKey", True), ("jwt", True),
        ("name", False), ("passport", False), ("key", False), ("pass", False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_key(key: str, hidden: bool) -> None:  # noqa: FBT001
    assert {key: REDACTED if hidden else 5} == scrub({key: 5})


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Bearer abc", True),
        ("basic dTpw", True),
        ("bearer", False),
        ("eyJhbGciOi.eyJzdWIi.c2ln", True),
        ("key is sk-abcdefghijkl", True),
        ("sk-short", False),
        ("task-abcdefghijklmn", False),
        ("x=ghp_abcdefghijkl", True),
        ("xoxb-123456789012", True),
        ("-----BEGIN RSA PRIVATE KEY-----\nx", True),
        ("an ordinary text about a bear", False),
    ],
)
def test_secrets_are_known_by_their_look(text: str, hidden: bool) -> None:  # noqa: FBT001
    assert [REDACTED if hidden else text] == scrub([text])


@pytest.mark.parametrize("before", [0, 1, 65_500, 65_530, 65_536, 131_060, 200_000])
def test_a_secret_is_known_anywhere_in_a_long_text(before: int) -> None:
    """Long texts are looked at in pieces; secrets across a border count too."""
    filler = "task-abcdefghijklmnop xoxo "
    lead = (filler * (before // len(filler) + 1))[:before]
    tail = filler * 3000

    assert scrub(lead + tail) == lead + tail
    assert scrub(f"{lead} sk-abcdefghijkl {tail}") == REDACTED
    assert scrub(f"{lead}-----BEGIN EC PRIVATE KEY-----{tail}") == REDACTED


def test_known_secrets_alone_are_masked_in_a_text() -> None:
    given = {"a hunter22 b": ["x hunter22 y", 5], "long": "hunter22 " * 20_000}

    scrubbed = scrub(given, secrets=("hunter22",))

    assert scrubbed[f"a {REDACTED} b"] == [f"x {REDACTED} y", 5]
    assert scrubbed["long"] == f"{REDACTED} " * 20_000


@pytest.mark.parametrize(
    ("value", "heavy"),
    [
        ({"a": ["x" * 100] * 100}, False),
        ("x" * 200_000, True),
        ([1] * 3000, True),
        ([[1] * 100] * 100, True),
        ({"a": {"b": "x" * 200_000}}, True),
    ],
)
def test_what_is_scrubbed_beside_the_event_loop(value: Any, heavy: bool) -> None:  # noqa: FBT001
    assert is_heavy(value) is heavy


def test_scrubbing_goes_all_the_way_down_and_changes_nothing_given() -> None:
    given = {"a": [{"token": {"x": 1}, "b": "fine"}]}

    assert scrub(given) == {"a": [{"token": REDACTED, "b": "fine"}]}
    assert given == {"a": [{"token": {"x": 1}, "b": "fine"}]}


@pytest.mark.parametrize(
    "secret",
    [
        "plainletters09", "with space in", 'a "quote" in', "back\\slash in", "tab\tin it now",
        "7.9:login-part", "tilde~dash-dot.", "slash/plus+equals=", "ümlaut und ß", "\x7fdelete it",
        "emoji \U0001f511 key", "at@sign&more",
    ],
)  # fmt: skip
def test_a_secret_is_known_in_every_spelling(secret: str) -> None:
    plain = secret.encode()
    code = base64.b64encode(plain).decode()

    found = spellings_of(secret)

    assert set(found) == {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(plain, safe=""),
        code,
        code.rstrip("="),
    }
    assert found == sorted(found, key=len, reverse=True)

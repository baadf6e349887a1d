"""What answers hide."""

import json
from typing import Any

import pytest
from noetl_contract.http.masking import MASK, masked

_SECRETS: list[Any] = [
    {"password": 1},
    {"DB-Password": {"a": 1}},
    {"api-key": "x"},
    {"apikey": None},
    {"author": "someone"},
    {"total_tokens": 5},
    {"concert": "x"},
    {"private-key": "x"},
    {"Connection-String": "x"},
    {"headers": {"Set-Cookie": "sid=1"}},
    {"response_headers": {"cookie": ["a", "b"]}},
    {"headers": {"X-API-Key": "x"}},
    {"nested": [{"deep": {"ssh_key": "x"}}]},
    "Bearer x",
    "basic x",
    "eyJ" + "a" * 20 + "." + "b" * 20 + "." + "c-" * 20,
    "text -----BEGIN RSA PRIVATE KEY----- more",
    "0" * 40,
    "ab+/" * 10,
    "ä" * 20,
]
_INNOCENT: list[Any] = [
    {"name": "hello", "count": 3, "none": None, "yes": True},
    "0" * 39,
    "a b" * 40,
    "noetl://execution/1/result/start/2",
    "325077236512452608:start:325077236516646911",
    "bearerx",
    "ä" * 19,
    [1.5, {"items": ["a", "b"]}],
    {"headers": {"content-type": "text/html", "x": {"cookie": "inside"}}, "cookie": "dough"},
]


@pytest.mark.parametrize("value", _SECRETS, ids=str)
def test_secrets_are_masked(value: Any) -> None:
    assert MASK in json.dumps(masked(value))


@pytest.mark.parametrize("value", _INNOCENT, ids=str)
def test_everything_else_stays(value: Any) -> None:
    assert masked(value) == value


def test_only_twenty_levels_are_looked_at() -> None:
    value: Any = {"password": "x"}
    for _ in range(20):
        value = [value]

    assert masked(value) == value

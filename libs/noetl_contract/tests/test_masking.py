"""Masking of secrets in answers."""

import json
from typing import Any

import pytest
from noetl_contract.http.masking import MASK, masked
from noetl_contract.http.secret_values import secret_values

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


_WORKLOAD: dict[str, Any] = {
    "db_password": "Hunter2+/x",
    "session": {"auth0_token": ['tok-é"quoted']},
    "auth": "K3yOfSixteenLetters",
    "api-key-2": "abcdefghijkl",
    # names and words, no secrets
    "pg_auth": "pg_k8s_of_the_cluster",
    "author": "Jane Austen the 2nd",
    "token_url": "https://login.example/oauth2/token",
    "password": "postgres",
    "token": "short",
    "secret": {"kind": "sealed", "count": 3},
}


def test_values_of_sensitive_keys_are_masked_under_every_key() -> None:
    secrets = secret_values(_WORKLOAD)
    body = {
        "p": "Hunter2+/x",
        "text": ["as Hunter2%2B%2Fx and SHVudGVyMisveA=="],
        "json": '{"t":"tok-\\u00e9\\"quoted"}',
        "K3yOfSixteenLetters": "abcdefghijkl",
        "innocent": "postgres of Jane Austen the 2nd at pg_k8s_of_the_cluster, short, sealed",
    }

    assert masked(body, secrets) == {
        "p": MASK,
        "text": [f"as {MASK} and {MASK}"],
        "json": f'{{"t":"{MASK}"}}',
        MASK: MASK,
        "innocent": body["innocent"],
    }
    assert masked({"a": [1, None]}, secrets) == {"a": [1, None]}


def test_deep_values_are_masked_too() -> None:
    secrets = secret_values({"password": "Hunter2+/x"})
    value: Any = "Hunter2+/x"
    for _ in range(150):
        value = [value]

    assert "Hunter2" not in json.dumps(masked(value, secrets))


@pytest.mark.parametrize(
    "workload",
    [
        None,
        "text",
        {"password": {"a": None, "b": [1, True]}},
        {"a": {"b": "Hunter2+/x"}},
        {"password": "x" * 9000},
    ],
)
def test_a_workload_without_secret_texts_hides_nothing(workload: Any) -> None:
    assert secret_values(workload) == ()


def test_the_search_for_secrets_has_bounds() -> None:
    many = {"tokens": {"token": [f"value-{number}" for number in range(10_000)]}}
    deep: Any = {"password": "Hunter2+/x"}
    for _ in range(500):
        deep = [deep]

    assert len(secret_values(many)) <= 64 * 6
    assert secret_values(deep) == ()

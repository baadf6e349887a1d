"""JSON that jsonb takes."""

import json
import re
from decimal import Decimal

import orjson
import pytest
from noetl_worker import jsonb
from noetl_worker.interpreters.host.results import NotJson


def test_json_that_no_other_encoder_takes() -> None:
    value = {"big": 1 << 70, "nul": "a\0b", "half": "\ud800"}

    encoded = jsonb.encode(value)

    assert b"\\u0000" not in encoded
    orjson.loads(encoded)
    assert json.loads(encoded) == {
        "big": 1 << 70,
        "nul": "a\ufffdb",
        "half": "\ufffd",
    }


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, Decimal("NaN")]}, "result.a[1] is NaN"),
        ({"big": 1 << 70, "n": float("inf")}, "result.n is Infinity"),
        ({"o": [object()]}, "result.o[0] is a object"),
    ],
)
def test_what_has_no_json_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(NotJson, match=re.escape(path)):
        jsonb.encode(value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"rows": [{"price": NaN}]}', "result.rows[0].price is NaN"),
        (" [1, -Infinity]", "result[1] is -Infinity"),
        ('{"n": 1e999}', "result.n is Infinity"),
    ],
)
def test_an_answer_with_a_number_that_json_lacks_is_no_text(text: str, path: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(NotJson, match=re.escape(path)):
            jsonb.parsed(data, text)


@pytest.mark.parametrize("text", ["NaN", "no JSON", "{NaN}", "[" * 100_000, '{"a": NaN', "\xff{"])
def test_what_is_no_json_at_all_is_text(text: str) -> None:
    assert jsonb.parsed(text.encode("latin-1"), text) == text


def test_the_look_of_an_escaped_nul_stays_beside_a_large_integer() -> None:
    value = {"big": 1 << 70, "text": "\\u0000"}

    assert json.loads(jsonb.encode(value)) == value

"""JSON that jsonb takes."""

import json

import orjson
from noetl_worker import jsonb


def test_json_that_no_other_encoder_takes() -> None:
    value = {"big": 1 << 70, "nul": "a\0b", "half": "\ud800", "nan": float("nan")}

    encoded = jsonb.encode(value)

    assert b"\\u0000" not in encoded
    orjson.loads(encoded)  # it is JSON: NaN would not be
    assert json.loads(encoded) == {
        "big": 1 << 70,
        "nul": "a\ufffdb",
        "half": "\ufffd",
        "nan": None,
    }


def test_the_look_of_an_escaped_nul_stays_beside_a_large_integer() -> None:
    value = {"big": 1 << 70, "text": "\\u0000"}

    assert json.loads(jsonb.encode(value)) == value

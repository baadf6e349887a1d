"""The chain of a log."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from noetl_common.crypto import chain
from noetl_common.crypto.chain import Chain, canonical
from noetl_contract.events import EventRow
from noetl_contract.json import Json, encode

ROW = EventRow(
    execution_id=1 << 60,
    position=1,
    event_id=(1 << 60) + 1,
    event_type="call.done",
    created_at=datetime(2026, 11, 27, 20, 15, 1, 123456, UTC),
    catalog_id=7,
)


def stored(value: Json) -> Json:
    """Return a value as it is read from a column: numbers are decimals there, keys sorted."""
    return orjson.loads(json.dumps(_as_jsonb(orjson.loads(encode(value)))))


def _as_jsonb(value: Json) -> Json:
    match value:
        case dict():
            return {key: _as_jsonb(value[key]) for key in sorted(value, key=lambda k: (len(k), k))}
        case list():
            return [_as_jsonb(inner) for inner in value]
        case float() if value == 0:
            return 0.0
        case float() if value.is_integer() and "e" in repr(value):
            return int(Decimal(repr(value)))
        case _:
            return value


@pytest.mark.parametrize(
    "value",
    [
        {"b": 1, "a": [1.0, 1.5, 1e-7, 5e-324, 0.1 + 0.2]},
        {"x": 1e16, "small": 1e-9},
        {"x": 1e22, "y": 1.7976931348623157e308, "z": -1e300},
        {"x": 12345678901234567890123},
        {"x": 1 << 64, "y": (1 << 64) - 1, "z": -(1 << 63), "small": 1e-7},
        {"x": -0.0, "y": "1e5 and -0.0", "z": "3e1"},
        {"nan": float("nan"), "inf": [float("inf")], "big": 1e17},
        {2: 1, 10: 2, None: 3},
        {"deep": {2: [{10: 1e16}]}, "x": 1 << 70},
        "é\U0001f600\u2028",
        [None, True, False, {}, []],
    ],
)
def test_what_was_stored_has_the_same_bytes(value: Json) -> None:
    assert canonical(replace(ROW, result=stored(value))) == canonical(replace(ROW, result=value))


def test_random_values_have_the_same_bytes_before_and_after() -> None:
    chance = random.Random(7)  # noqa: S311 -- the same values each time
    for _ in range(2000):
        value = _random(chance, depth=3)
        before = canonical(replace(ROW, context=value))
        assert canonical(replace(ROW, context=stored(value))) == before, value


def _random(chance: random.Random, *, depth: int) -> Json:
    if depth and chance.random() < 0.25:
        return [_random(chance, depth=depth - 1) for _ in range(chance.randrange(4))]
    if depth and chance.random() < 0.4:
        return {str(n): _random(chance, depth=depth - 1) for n in range(chance.randrange(12))}
    return chance.choice(
        [
            chance.uniform(-1, 1) * 10.0 ** chance.randint(-320, 305),
            chance.randint(-(1 << 70), 1 << 70) >> chance.randint(0, 70),
            float(chance.randint(-(1 << 60), 1 << 60)),
            chance.random(),
            *("", "1e9", "-0.0", "ü", '"', "\\", "\t"),
            *(None, True, False, 0.0, -0.0),
        ]
    )


def test_the_bytes_are_those_of_every_release() -> None:
    start = (
        b'[1152921504606846976,1,1152921504606846977,"call.done",1795810501123456,7,'
        b"null,null,null,null,null,null,null,"
    )
    value = {"b": [1, 2.5, -3.0, 0.0001, 1 << 63], "a": "ä\n\x7f\u2028"}
    assert canonical(replace(ROW, result=value, error="x")) == (
        start + b'{"a":"\xc3\xa4\\n\x7f\xe2\x80\xa8","b":[1,2.5,-3.0,0.0001,9223372036854775808]}'
        b',null,"x",null,null]'
    )
    value = [1e-7, 1e16, 0.00001, 1.5e300, "ä\n\x7f\u2028"]
    assert canonical(replace(ROW, result=value)) == (
        start + b"[1e-07,10000000000000000,1e-05,15" + b"0" * 299 + b","
        b'"\xc3\xa4\\n\x7f\xe2\x80\xa8"],null,null,null,null]'
    )


def test_only_numbers_take_the_slow_way() -> None:
    texts = ["3e7", "2.5e10", "-0.0", "10.00001", "a:3e7", "a:3e7,", "7f9330bb483aa3e7", "0x1e5"]
    numbers = [1e-7, 1e22, 1.5e300, -2.5e-300, 0.00001, -0.0, -1e16]

    def takes_it(value: Json) -> bool:
        return chain._may_be_rewritten(orjson.dumps([1, value, {"x": value}]))

    assert [text for text in texts if takes_it(text)] == ["a:3e7,"]
    assert [number for number in numbers if not takes_it(number)] == []
    assert [number for number in numbers if not takes_it([number, number])] == []


def test_any_change_of_any_column_shows() -> None:
    changes: dict[str, Json] = {
        "execution_id": 5,
        "event_id": 6,
        "event_type": "call.error",
        "created_at": datetime(2026, 11, 27, 20, 15, 1, 123457, UTC),
        "catalog_id": 8,
        **dict.fromkeys(("node_id", "node_name", "node_type", "status", "error", "worker_id"), "x"),
        **dict.fromkeys(("parent_event_id", "parent_execution_id"), 9),
        **{column: {"x": 1} for column in ("context", "result", "meta", "note")},
    }
    seen = {canonical(ROW)} | {
        canonical(replace(ROW, **{column: value})) for column, value in changes.items()
    }
    assert len(seen) == 1 + len(changes)


def test_a_chain_goes_on_where_it_was_and_stops_at_a_gap() -> None:
    rows = [replace(ROW, position=number, event_id=number) for number in range(1, 6)]
    whole, halves = Chain(), Chain()
    assert whole.extend(rows)
    assert halves.extend(rows[:2])
    halves = Chain(halves.position, halves.digest)
    assert halves.extend(rows[1:])
    assert halves == whole
    assert whole.position == 5
    assert not Chain().extend(rows[1:])
    swapped = Chain()
    assert swapped.extend([rows[0], replace(rows[2], position=2), replace(rows[1], position=3)])
    assert swapped.digest != whole.digest

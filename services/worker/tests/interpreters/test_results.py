"""The table of conversions of a result, and the values that it refuses."""

import datetime as dt
import decimal
import enum
import fractions
import json
import sys
import types
import uuid
from collections import UserDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest
from noetl_worker.interpreters.host.results import NotJson, encode, plain


@dataclass
class Order:
    number: int
    paid: decimal.Decimal
    shop: ClassVar[str] = "here"


class Colour(enum.Enum):
    RED = "red"


class Scalar:
    """Like those of numpy and pandas: no number of Python's, but it has one."""

    __module__ = "numpy"

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"np({self.value})"

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and other.value == self.value

    def tolist(self) -> Any:
        return self.value


class Array(Scalar):
    __module__ = "numpy"

    @property
    def size(self) -> int:
        return len(self.value)


class Times(Array):
    """An array of moments, whose `tolist` would give nanoseconds."""

    __module__ = "numpy"
    dtype = types.SimpleNamespace(kind="M")
    shape = (2,)

    def tolist(self) -> Any:
        raise AssertionError("numbers of nanoseconds")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)


class Frame:
    """A table of pandas: names and rows."""

    __module__ = "pandas.core.frame"

    def __init__(self, columns: list[Any], rows: list[list[Any]], *, size: int = 0) -> None:
        self.columns = columns
        self._rows = rows
        self._size = size

    def __len__(self) -> int:
        return self._size or len(self._rows)

    def to_dict(self, *, orient: str) -> list[dict[Any, Any]]:
        assert orient == "records"
        return [dict(zip(self.columns, row, strict=True)) for row in self._rows]


datetime64 = type(
    "datetime64", (), {"__module__": "numpy", "__str__": lambda self: self.text, "text": "NaT"}
)
NaTType = type("NaTType", (), {"__module__": "pandas._libs", "isoformat": lambda _: "NaT"})


def moment(text: str) -> Any:
    value = datetime64()
    value.text = text
    return value


CONVERTED: dict[str, tuple[Any, Any]] = {
    "plain": ({"a": [1, 2.5, True, None, "é"]}, {"a": [1, 2.5, True, None, "é"]}),
    "tuple": ((1, (2,)), [1, [2]]),
    "64 bits": ([(1 << 64) - 1, -(1 << 63)], [(1 << 64) - 1, -(1 << 63)]),
    "digits of other things": (
        {"text": "9" * 30, 10**30: [1.5e300, 0.00012345678901234567, "é" + "1" * 19]},
        {"text": "9" * 30, str(10**30): [1.5e300, 0.00012345678901234567, "é" + "1" * 19]},
    ),
    "sets": ({"s": {3, 1, 2}, "f": frozenset("a")}, {"s": [1, 2, 3], "f": ["a"]}),
    "bytes": ([b"ab", bytearray(b"ab")], ["YWI=", "YWI="]),
    "times": (
        [
            dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
            dt.datetime(2026, 1, 2, 3, 4, 5, 600),  # noqa: DTZ001  as scripts have them
            dt.date(2026, 1, 2),
            dt.time(3, 4),
            dt.timedelta(days=1, seconds=2),
        ],
        [
            "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.000600", "2026-01-02", "03:04:00",
            "1 day, 0:00:02",
        ],
    ),
    "texts": (
        [decimal.Decimal("1.50"), uuid.UUID(int=5), PurePosixPath("/a"), fractions.Fraction(1, 3)],
        ["1.50", "00000000-0000-0000-0000-000000000005", "/a", "1/3"],
    ),
    "enumeration": (Colour.RED, "red"),
    "dataclass": (Order(1, decimal.Decimal(2)), {"number": 1, "paid": "2"}),
    "mappings": ([UserDict(a=1), types.MappingProxyType({"b": 2})], [{"a": 1}, {"b": 2}]),
    "sequences": ([deque([1]), range(2), {"x": 1, "a": 2}.keys()], [[1], [0, 1], ["x", "a"]]),
    "keys": (
        {1: "a", None: "b", uuid.UUID(int=1): "c", dt.date(2026, 1, 2): "d", Scalar(7): "e"},
        {
            "1": "a", "null": "b", "00000000-0000-0000-0000-000000000001": "c",
            "2026-01-02": "d", "7": "e",
        },
    ),
    "scalars": ({"n": Scalar(3), "ok": Scalar(True)}, {"n": 3, "ok": True}),
    "array": (Array([[1, 2], [3, Scalar(4)]]), [[1, 2], [3, 4]]),
    "array of times": (Times([moment("2026-01-02")]), ["2026-01-02"]),
    "table": (
        {"df": Frame(["x", "at"], [[Scalar(1), dt.date(2026, 1, 2)], [2, None]])},
        {"df": [{"x": 1, "at": "2026-01-02"}, {"x": 2, "at": None}]},
    ),
    "table with numbers for names": (Frame([0, 1], [["a", "b"]]), [{"0": "a", "1": "b"}]),
}  # fmt: skip

NAN = float("nan")
REFUSED: dict[str, tuple[Any, str]] = {
    "scalar": ({"mean": Scalar(NAN)}, "result.mean is NaN"),
    "array": ({"a": Array([1.0, NAN])}, "result.a[1] is NaN"),
    "table": ({"df": Frame(["price"], [[1.0], [NAN]])}, "result.df[1].price is NaN"),
    "missing moment": ([moment("NaT")], "result[0] is NaT, a time that is missing"),
    "missing value": ({"t": NaTType()}, "result.t is "),
    "two columns of one name": (Frame(["a", "a"], [[1, 2]]), "result is a table with two columns"),
    "names of two levels": (Frame([("a", "b")], [[1]]), "result[0] has the key ('a', 'b')"),
    "too many rows": (
        {"big": Frame(["price", "name"], [], size=1_000_000)},
        "result.big has 1000000 rows or values, which are more than the 10000 bytes",
    ),
    "too many values": (Array(range(10**6)), "result has 1000000 rows or values"),
    "object among good": ({"a": 1, "b": [{2, 1}, object()]}, "result.b[1] is a object"),
    "key": ({"a": {NAN: 1}}, "result.a has a key that is NaN"),
    "long key": ([{10**5000: 1}], "result[0] has a key that is an integer of more than 300"),
    "long key in a tuple": ({(1, 10**5000): 1}, "result has the key no text: keys are texts"),
    "5000 digits": ({"a": [1, 10**5000]}, "result.a[1] is an integer of more than 300 digits"),
    "400 digits": ({"a": (1, 10**400)}, "result.a[1] is an integer of more than 300 digits"),
    "65 bits": ({"a": [{"id": 1 << 64}]}, "result.a[0].id is an integer beyond 64 bits, of which"),
    "less than 64 bits hold": ({"x": {-(1 << 63) - 1}}, "result.x[0] is an integer beyond 64 bits"),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_what_stands_for_a_value(name: str) -> None:
    value, expected = CONVERTED[name]

    assert json.loads(encode(value)) == expected
    assert json.loads(json.dumps(plain(value))) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_its_path(name: str) -> None:
    value, why = REFUSED[name]

    with pytest.raises(NotJson) as raised:
        encode(value, most=10_000)

    assert why in str(raised.value)


def test_a_table_is_told_how_to_write_null_for_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", types.ModuleType("pandas"))

    with pytest.raises(NotJson, match=r"df\.astype\(object\)\.where\(df\.notna\(\), None\)"):
        encode(Frame(["price"], [[NAN]]))


def test_a_long_path_is_cut() -> None:
    value: Any = NAN
    for number in range(90):
        value = {f"level_{number}": value}

    with pytest.raises(NotJson) as raised:
        encode(value)

    assert len(str(raised.value)) < 400

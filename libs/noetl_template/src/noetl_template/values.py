"""Values in templates: printing, comparing, and their JSON.

Templates see plain JSON objects, never copies of them. The two dialects differ in what a JSON
null means: undefined on the server, a real none on the worker. So Python's ``None`` stands for
the dialect's null, and the other of the two words gets an object of its own.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final

import orjson

from noetl_template.errors import EvaluationError

type Value = Any
"""A value inside a template: JSON, undefined, a function, a loop or a namespace."""

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
MAX_NESTING: Final = 200

# Characters a printed container shows in a form that JSON does not know.
_UNPRINTABLE_ASCII = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_ESCAPES = {"\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
_NEEDS_ESCAPE = re.compile(r'[\x00-\x1f"\\\x7f]|[^\x00-\x7f]')


class Marker:
    """A falsy value of its own: the undefined or the none that ``None`` doesn't stand for."""

    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return self.word


UNDEFINED: Final = Marker("undefined")
NONE: Final = Marker("none")


class Group(list[Value]):
    """One group of ``groupby``: a pair that also knows ``grouper`` and ``list``."""

    __slots__ = ()


class Kind(IntEnum):
    """Kinds in the order values of different kinds sort by."""

    UNDEFINED = 0
    NONE = 1
    BOOL = 2
    NUMBER = 3
    STRING = 4
    SEQUENCE = 6
    MAP = 7
    PLAIN = 9

    @property
    def word(self) -> str:
        """The name used in error messages."""
        return self.name.lower()


_KINDS: Final[dict[type, Kind]] = {
    bool: Kind.BOOL,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.STRING,
    list: Kind.SEQUENCE,
    dict: Kind.MAP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of the two rule sets.

    Attributes:
        name: ``server`` or ``worker``.
        undefined: What stands for undefined.
        none: What stands for none.
        max_integer: Largest integer that stays one; larger ones become floats.
        proxies_result: Whether ``.result`` of a map without that key is the map itself.
    """

    name: str
    undefined: Marker | None
    none: Marker | None
    max_integer: int
    proxies_result: bool

    def kind(self, value: Value) -> Kind:  # noqa: PLR0911 - one return per kind
        """Return the kind of any value a template can hold."""
        kind = _KINDS.get(type(value))
        if kind is not None:
            return kind
        if value is self.undefined:
            return Kind.UNDEFINED
        if value is self.none:
            return Kind.NONE
        if isinstance(value, Mapping):
            return Kind.MAP
        if isinstance(value, list | tuple):
            return Kind.SEQUENCE
        if isinstance(value, str):
            return Kind.STRING
        return Kind.PLAIN

    def text(self, value: Value) -> str:
        """Return the text that ``{{ value }}`` prints."""
        if value is self.undefined:
            return ""
        return self.printed(value)

    def printed(  # noqa: PLR0911 - one return per kind
        self, value: Value, *, depth: int = 0
    ) -> str:
        """Return the printed form of a value inside a container, where strings are quoted."""
        match value:
            case str():
                return value if depth == 0 else quoted(value)
            case bool():
                return "true" if value else "false"
            case int():
                return str(value)
            case float():
                return nested_float_text(value) if depth else float_text(value)
            case None:
                return "undefined" if self.undefined is None else "none"
            case Marker():
                return value.word
            case _ if depth > MAX_NESTING:
                raise EvaluationError("value is nested too deeply")
            case list() | tuple():
                return "[" + ", ".join([self.printed(v, depth=depth + 1) for v in value]) + "]"
            case Mapping():
                entries = [
                    f"{self.printed(k, depth=depth + 1)}: {self.printed(v, depth=depth + 1)}"
                    for k, v in self.sorted_items(value)
                ]
                return "{" + ", ".join(entries) + "}"
            case _:
                raise EvaluationError("this value can't be printed")

    def sorted_keys(self, mapping: Mapping[Value, Value]) -> list[Value]:
        """Return a map's keys in the order templates meet them: sorted."""
        keys = list(mapping)
        if all(type(key) is str for key in keys):
            keys.sort()
        else:
            keys.sort(key=self.sort_key)
        return keys

    def sorted_items(self, mapping: Mapping[Value, Value]) -> list[tuple[Value, Value]]:
        """Return a map's entries in key order."""
        return [(key, mapping[key]) for key in self.sorted_keys(mapping)]

    def elements(self, value: Value) -> list[Value]:
        """Return the elements a loop or filter meets in ``value``.

        Raises:
            EvaluationError: The value has none by nature, for example a number.
        """
        if type(value) is list:
            return value
        match self.kind(value):
            case Kind.SEQUENCE:
                return list(value)
            case Kind.MAP:
                return self.sorted_keys(value)
            case Kind.STRING:
                return list(value)
            case Kind.UNDEFINED | Kind.NONE:
                return []
            case kind:
                raise EvaluationError(f"invalid operation: {kind.word} is not iterable")

    def order(self, left: Value, right: Value) -> int:
        """Compare any two values: negative, zero or positive.

        Values of different kinds compare by kind, so that any list can be sorted.
        """
        left_kind = self.kind(left)
        right_kind = self.kind(right)
        if left_kind is not right_kind:
            return left_kind - right_kind
        match left_kind:
            case Kind.BOOL | Kind.NUMBER | Kind.STRING:
                return int(left > right) - int(left < right)
            case Kind.SEQUENCE:
                return self._order_all(left, right)
            case Kind.MAP:
                return self._order_all(
                    [list(pair) for pair in self.sorted_items(left)],
                    [list(pair) for pair in self.sorted_items(right)],
                )
            case _:
                return 0

    def _order_all(self, left: Sequence[Value], right: Sequence[Value]) -> int:
        for one, other in zip(left, right, strict=False):
            result = self.order(one, other)
            if result:
                return result
        return len(left) - len(right)

    def sort_key(self, value: Value) -> "SortKey":
        """Return a key for ``sorted`` that follows :meth:`order`."""
        return SortKey(value, self.order)

    def incoming(self, value: Value) -> Value:
        """Return a value as it enters a template: an integer too large becomes a float."""
        if type(value) is int and not INT64_MIN <= value <= self.max_integer:
            return float(value)
        return value

    def json_ready(self, value: Value) -> Value:
        """Return ``value`` for JSON: undefined and none as ``None``, keys as strings.

        Of numbers that JSON doesn't know the server makes text later, like of all its floats.
        """
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) or not self.proxies_result else None
            case Marker():
                return None
            case list() | tuple():
                return [self.json_ready(v) for v in value]
            case Mapping():
                return {
                    k if isinstance(k, str) else self.printed(k): self.json_ready(v)
                    for k, v in value.items()
                }
            case _:
                raise EvaluationError("this value has no JSON form")


@dataclass(slots=True)
class SortKey:
    """Wraps a value for ``sorted``."""

    value: Value
    order: Callable[[Value, Value], int]

    def __lt__(self, other: "SortKey") -> bool:
        return self.order(self.value, other.value) < 0


SERVER: Final = Dialect(
    name="server", undefined=None, none=NONE, max_integer=INT64_MAX, proxies_result=False
)
WORKER: Final = Dialect(
    name="worker", undefined=UNDEFINED, none=None, max_integer=UINT64_MAX, proxies_result=True
)


def size_of(value: object) -> int:
    """Return the number of characters or elements that an operation has to be paid for."""
    return len(value) if isinstance(value, str | list | Mapping) else 0


def float_text(value: float) -> str:
    """Return a float in plain decimal notation, always with a decimal point."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    shortest = repr(value)
    if "e" in shortest:
        shortest = format(Decimal(shortest), "f")
    return shortest if "." in shortest else shortest + ".0"


def nested_float_text(value: float) -> str:
    """Return a float inside a printed container: with an exponent where it is large or tiny."""
    shortest = repr(value)
    mantissa, exponent, power = shortest.partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return float_text(value)


def quoted(text: str) -> str:
    """Return a string inside a printed container."""
    if _NEEDS_ESCAPE.search(text) is None:
        return f'"{text}"'
    return '"' + _NEEDS_ESCAPE.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    known = _ESCAPES.get(char)
    if known is not None:
        return known
    return f"\\u{{{ord(char):x}}}" if _is_hidden(char) else char


def _is_hidden(char: str) -> bool:
    """Return whether the original server prints this character as a code point.

    Unprintable ones and those that combine with their neighbour.
    """
    return not char.isprintable() or unicodedata.category(char) in {"Mn", "Me"}


def prints_as_json(  # noqa: PLR0911 - one return per type
    value: Value, *, depth: int = 0
) -> bool:
    """Return whether the printed form of a JSON value is JSON again, and equal to it."""
    kind = type(value)
    if kind is str:
        return _text_prints_as_json(value)
    if kind is bool:
        return True
    if kind is int:
        return bool(INT64_MIN <= value <= INT64_MAX)
    if kind is float:
        return math.isfinite(value)
    if depth > MAX_NESTING:
        raise EvaluationError("value is nested too deeply")
    if kind is list:
        return all(prints_as_json(v, depth=depth + 1) for v in value)
    if kind is dict:
        return all(
            type(k) is str and _text_prints_as_json(k) and prints_as_json(v, depth=depth + 1)
            for k, v in value.items()
        )
    return False


def _text_prints_as_json(text: str) -> bool:
    if text.isascii():
        return text.isprintable() or _UNPRINTABLE_ASCII.search(text) is None
    if _UNPRINTABLE_ASCII.search(text) is not None:
        return False
    return not any(_is_hidden(char) for char in _NON_ASCII.findall(text))


def dump_json(value: Value) -> str:
    """Compact JSON with sorted keys."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError) as error:
        raise EvaluationError("this value has no JSON form") from error

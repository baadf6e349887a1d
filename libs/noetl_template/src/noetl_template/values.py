"""Values in templates: printing, comparison and conversion to JSON.

Templates use JSON objects without copying them. JSON null means undefined on the server and none on
the worker. So Python's ``None`` is undefined or none, depending on the dialect, and the other one
is a `Marker`.
"""

# size: kinds, printing and order of values need each other's types

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final, NoReturn

from noetl_template.errors import EvaluationError, NoSecret, NotAtHand
from noetl_template.limits import Budget

type Value = Any
"""A value inside a template: JSON, undefined, a function, a loop or a namespace."""

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
MAX_NESTING: Final = 200
KEYCHAIN: Final = "keychain"
"""The name under which templates find secrets."""

_ESCAPES = {"\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
_LONGEST_ESCAPE: Final = 10
_NEEDS_ESCAPE = re.compile(r'[\x00-\x1f"\\\x7f]|[^\x00-\x7f]')


class Marker:
    """A falsy value for undefined or none, whichever ``None`` doesn't represent."""

    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return self.word


UNDEFINED: Final = Marker("undefined")
NONE: Final = Marker("none")


class BuiltList(list[Value]):
    """A list that a template has created; ``size`` is its logical size."""

    __slots__ = ("size",)
    size: int


class BuiltMap(dict[Value, Value]):
    """A map that a template has created; ``size`` is its logical size."""

    __slots__ = ("size",)
    size: int


class Placeholder(dict[str, Value]):
    """Stands for a value that is kept elsewhere; its kind is unknown until it is fetched."""

    __slots__ = ()

    @property
    def is_absent(self) -> bool:
        """Whether the value is undefined or none."""
        return False

    def refuse(self, *_arguments: Value) -> NoReturn:
        """Ask for the whole value.

        Raises:
            NotAtHand: Always.
        """
        raise NotAtHand(self, is_whole=True)


class Secrets(dict[str, Value]):
    """The secrets that templates may name; the error for a missing secret contains its name.

    Attributes:
        path: Path of the map in templates.
        optional: Paths for which a template has a default.
    """

    __slots__ = ("optional", "path")

    def __init__(
        self,
        values: Mapping[str, Value],
        *,
        optional: frozenset[tuple[str, ...]] = frozenset(),
        path: tuple[str, ...] = (KEYCHAIN,),
    ) -> None:
        super().__init__(
            (name, Secrets(value, optional=optional, path=(*path, name)))
            if type(value) is dict
            else (name, value)
            for name, value in values.items()
        )
        self.path = path
        self.optional = optional

    def get(self, key: Value, default: Value = None, /) -> Value:
        """Return a secret, or the default if a template has a default for its path.

        Raises:
            NoSecret: The secret doesn't exist.
        """
        if key in self:
            return self[key]
        path = (*self.path, str(key))
        if any(path == one[: len(path)] or one == path[: len(one)] for one in self.optional):
            return default
        owner = f"entry '{self.path[1]}' of the keychain" if len(self.path) > 1 else "keychain"
        what = "field" if len(self.path) > 1 else "entry"
        raise NoSecret(f"the {owner} has no {what} '{'.'.join(path[len(self.path[:2]) :])}'")


class Group(BuiltList):
    """One group of ``groupby``: a pair that also has the names ``grouper`` and ``list``."""

    __slots__ = ()


class Kind(IntEnum):
    """Kinds of values, in the order in which values of different kinds are sorted."""

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
    BuiltList: Kind.SEQUENCE,
    BuiltMap: Kind.MAP,
    Secrets: Kind.MAP,
    Group: Kind.SEQUENCE,
}
# The types of lists and maps, except groups.
LISTS: Final = frozenset({list, BuiltList})
MAPS: Final = frozenset({dict, BuiltMap})
# Strings up to this length cost no work beyond that of the list or map that contains them.
SHORT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of the two rule sets.

    Attributes:
        name: ``server`` or ``worker``.
        undefined: The value that represents undefined.
        none: The value that represents none.
        max_integer: The largest integer; larger integers become floats.
        proxies_result: Whether ``.result`` of a map without that key is the map itself.
    """

    name: str
    undefined: Marker | None
    none: Marker | None
    max_integer: int
    proxies_result: bool

    def kind(self, value: Value) -> Kind:  # noqa: PLR0911 - one return per kind
        """Return the kind of a value."""
        kind = _KINDS.get(type(value))
        if kind is not None:
            return kind
        if value is self.undefined:
            return Kind.UNDEFINED
        if value is self.none:
            return Kind.NONE
        if isinstance(value, Placeholder):
            value.refuse()
        if isinstance(value, Mapping):
            return Kind.MAP
        if isinstance(value, list | tuple):
            return Kind.SEQUENCE
        if isinstance(value, str):
            return Kind.STRING
        return Kind.PLAIN

    def text(self, value: Value, budget: Budget) -> str:
        """Return the text that ``{{ value }}`` prints."""
        if value is self.undefined:
            return ""
        return self.printed(value, budget)

    def printed(  # noqa: PLR0911 - one return per kind
        self, value: Value, budget: Budget, *, depth: int = 0
    ) -> str:
        """Return the printed form of a value inside a container, where strings are quoted."""
        if isinstance(value, str):
            return value if depth == 0 else quoted(value, budget)
        if value is True:
            return "true"
        if value is False:
            return "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float):
            return nested_float_text(value) if depth else float_text(value)
        if value is None:
            return "undefined" if self.undefined is None else "none"
        if isinstance(value, Marker):
            return value.word
        if isinstance(value, list | tuple | Mapping):
            if depth > MAX_NESTING:
                raise EvaluationError("value is nested too deeply")
            return self._printed_container(value, budget, depth + 1)
        raise EvaluationError("this value can't be printed")

    def _printed_container(
        self, value: Sequence[Value] | Mapping[Value, Value], budget: Budget, depth: int
    ) -> str:
        if isinstance(value, Mapping):
            opening, closing = "{}"
            parts = [
                f"{self.printed(k, budget, depth=depth)}: {self.printed(v, budget, depth=depth)}"
                for k, v in self.sorted_items(value, budget)
            ]
        else:
            opening, closing = "[]"
            budget.visit(len(value))
            parts = [self.printed(v, budget, depth=depth) for v in value]
        inner = ", ".join(parts)
        if len(inner) > SHORT:
            budget.check_length(len(inner))
            budget.spend(len(inner))
        return opening + inner + closing

    def sorted_keys(self, mapping: Mapping[Value, Value], budget: Budget) -> list[Value]:
        """Return the keys of a map in sorted order."""
        budget.visit(len(mapping))
        keys = list(mapping)
        if all(type(key) is str for key in keys):
            keys.sort()
        else:
            keys.sort(key=lambda key: self.sort_key(key, budget))
        return keys

    def sorted_items(
        self, mapping: Mapping[Value, Value], budget: Budget
    ) -> list[tuple[Value, Value]]:
        """Return the entries of a map in the order of their keys."""
        return [(key, mapping[key]) for key in self.sorted_keys(mapping, budget)]

    def elements(self, value: Value, budget: Budget) -> list[Value]:
        """Return the elements of ``value`` for a loop or filter.

        Raises:
            EvaluationError: The value is not iterable, such as a number.
        """
        if type(value) in LISTS:
            return value  # type: ignore[no-any-return]  # what its type says
        match self.kind(value):
            case Kind.SEQUENCE:
                return list(value)
            case Kind.MAP:
                return self.sorted_keys(value, budget)
            case Kind.STRING:
                budget.make(len(value))
                return list(value)
            case Kind.UNDEFINED | Kind.NONE:
                return []
            case kind:
                raise EvaluationError(f"invalid operation: {kind.word} is not iterable")

    def order(self, left: Value, right: Value, budget: Budget) -> int:
        """Compare any two values: negative, zero or positive.

        Values of different kinds compare by kind, so that any list can be sorted.
        """
        left_kind = self.kind(left)
        right_kind = self.kind(right)
        if left_kind is not right_kind:
            return left_kind - right_kind
        match left_kind:
            case Kind.STRING:
                if len(left) > SHORT:
                    budget.spend(min(len(left), len(right)))
                return int(left > right) - int(left < right)
            case Kind.BOOL | Kind.NUMBER:
                return int(left > right) - int(left < right)
            case Kind.SEQUENCE:
                return self._order_all(left, right, budget)
            case Kind.MAP:
                return self._order_all(
                    [list(pair) for pair in self.sorted_items(left, budget)],
                    [list(pair) for pair in self.sorted_items(right, budget)],
                    budget,
                )
            case _:
                return 0

    def _order_all(self, left: Sequence[Value], right: Sequence[Value], budget: Budget) -> int:
        for one, other in zip(left, right, strict=False):
            budget.visit(2)
            result = self.order(one, other, budget)
            if result:
                return result
        return len(left) - len(right)

    def sort_key(self, value: Value, budget: Budget) -> "SortKey":
        """Return a key for ``sorted`` that follows :meth:`order`."""
        return SortKey(value, self, budget)

    def incoming(self, value: Value) -> Value:
        """Return a value of the scope; an integer that is too large becomes a float."""
        if type(value) is int and not INT64_MIN <= value <= self.max_integer:
            return float(value)
        return value

    def json_ready(self, value: Value, budget: Budget) -> Value:
        """Return ``value`` for JSON: undefined and none as ``None``, keys as strings.

        Raises:
            EvaluationError: a number is not finite, or a value has no JSON form.
        """
        match value:
            case str():
                if len(value) > SHORT:
                    budget.spend(len(value))
                return value
            case None | bool() | int():
                return value
            case float():
                return finite(value)
            case Marker():
                return None
            case list() | tuple():
                budget.visit(len(value))
                return [self.json_ready(v, budget) for v in value]
            case Mapping():
                budget.visit(len(value))
                return {
                    k if isinstance(k, str) else self.printed(k, budget): self.json_ready(v, budget)
                    for k, v in value.items()
                }
            case _:
                raise EvaluationError("this value has no JSON form")


@dataclass(slots=True)
class SortKey:
    """A wrapper that orders a value by its dialect in ``sorted``."""

    value: Value
    dialect: Dialect
    budget: Budget

    def __lt__(self, other: "SortKey") -> bool:
        return self.dialect.order(self.value, other.value, self.budget) < 0


SERVER: Final = Dialect(
    name="server", undefined=None, none=NONE, max_integer=INT64_MAX, proxies_result=False
)
WORKER: Final = Dialect(
    name="worker", undefined=UNDEFINED, none=None, max_integer=UINT64_MAX, proxies_result=True
)


def size_of(value: object) -> int:
    """Return the number of characters or elements for which an operation has to pay."""
    if isinstance(value, Placeholder):
        return 0
    return len(value) if isinstance(value, str | list | Mapping) else 0


def finite(value: float) -> float:
    """Return a finite number unchanged.

    Raises:
        EvaluationError: the number is not finite, so JSON has no form for it.
    """
    if not math.isfinite(value):
        raise EvaluationError(f"the value is {float_text(value)}, a number that JSON doesn't have")
    return value


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
    """Return the text of a float inside a printed container, with an exponent if Python has one."""
    shortest = repr(value)
    mantissa, exponent, power = shortest.partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return float_text(value)


def quoted(text: str, budget: Budget) -> str:
    """Return the quoted text of a string inside a printed container."""
    length = len(text)
    if length > SHORT:
        budget.spend(length)
    if _NEEDS_ESCAPE.search(text) is None:
        return f'"{text}"'
    escapes = {ord(char): _escape(char) for char in distinct_chars(text, budget)}
    if length * _LONGEST_ESCAPE > budget.limits.max_output_chars:
        budget.visit(length)
        budget.check_length(sum(len(escapes[ord(char)]) for char in text))
    escaped = text.translate(escapes)
    if length > SHORT:
        budget.spend(4 * len(escaped))
    return f'"{escaped}"'


def distinct_chars(text: str, budget: Budget) -> set[str]:
    """Return the distinct characters of a text, of which most texts have few."""
    chars = set(text)
    if len(chars) > SHORT:
        budget.visit(4 * len(chars))
    return chars


def _escape(char: str) -> str:
    if _NEEDS_ESCAPE.match(char) is None:
        return char
    known = _ESCAPES.get(char)
    if known is not None:
        return known
    return f"\\u{{{ord(char):x}}}" if is_hidden(char) else char


def is_hidden(char: str) -> bool:
    """Return whether the reference server prints this character as a code point.

    This is so for unprintable characters and for combining marks.
    """
    return not char.isprintable() or unicodedata.category(char) in {"Mn", "Me"}

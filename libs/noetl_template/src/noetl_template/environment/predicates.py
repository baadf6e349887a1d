"""The tests of ``is``."""

from collections.abc import Callable, Mapping
from typing import Final

from jinja2 import pass_context

from noetl_template import operators
from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.registry import Registry
from noetl_template.values import Dialect, Kind, Value

type Predicate = Callable[..., bool]


def _of_kind(*kinds: Kind) -> Predicate:
    wanted = frozenset(kinds)

    def has_kind(context: RenderContext, value: Value) -> bool:
        return context.dialect.kind(value) in wanted

    return has_kind


def _comparison(name: str) -> Predicate:
    def compares(context: RenderContext, value: Value, other: Value) -> bool:
        return operators.compare(context.dialect, context.budget, name, value, other)

    return compares


def _is_integer(_context: RenderContext, value: Value) -> bool:
    return type(value) is int


def _is_defined(context: RenderContext, value: Value) -> bool:
    return value is not context.dialect.undefined


def _divides(_context: RenderContext, value: Value, divisor: Value) -> bool:
    if not isinstance(value, int | float) or not isinstance(divisor, int | float) or not divisor:
        return False
    return value % divisor == 0


def _parity(remainder: int) -> Predicate:
    def has_parity(_context: RenderContext, value: Value) -> bool:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and value % 2 == remainder

    return has_parity


def _starts(context: RenderContext, value: Value, start: Value) -> bool:
    return context.dialect.text(value).startswith(context.dialect.text(start))


def _ends(context: RenderContext, value: Value, end: Value) -> bool:
    return context.dialect.text(value).endswith(context.dialect.text(end))


def _has_case(name: str) -> Predicate:
    def has_case(_context: RenderContext, value: Value) -> bool:
        if not isinstance(value, str):
            raise EvaluationError("invalid operation: value is not a string")
        return all(getattr(char, name)() for char in value)

    return has_case


def _is_same(_context: RenderContext, value: Value, other: Value) -> bool:
    if isinstance(value, Mapping | list):
        return value is other
    return type(value) is type(other) and bool(value == other)


def _is_filter(context: RenderContext, value: Value) -> bool:
    return isinstance(value, str) and value in context.environment.filters


def _is_test(context: RenderContext, value: Value) -> bool:
    return isinstance(value, str) and value in context.environment.tests


def _is_true(_context: RenderContext, value: Value) -> bool:
    return value is True


def _is_false(_context: RenderContext, value: Value) -> bool:
    return value is False


def _never(_context: RenderContext, _value: Value) -> bool:
    return False


_ITERABLE: Final = (Kind.UNDEFINED, Kind.NONE, Kind.STRING, Kind.SEQUENCE, Kind.MAP)
_COMPARISONS: Final = {
    "eq": ("eq", "equalto", "=="),
    "ne": ("ne", "!="),
    "lt": ("lt", "lessthan", "<"),
    "lteq": ("le", "<="),
    "gt": ("gt", "greaterthan", ">"),
    "gteq": ("ge", ">="),
    "in": ("in",),
}
_PREDICATES: Final[dict[str, Predicate]] = {
    "undefined": _of_kind(Kind.UNDEFINED),
    "defined": _is_defined,
    "none": _of_kind(Kind.NONE),
    "string": _of_kind(Kind.STRING),
    "number": _of_kind(Kind.NUMBER),
    "sequence": _of_kind(Kind.SEQUENCE),
    "mapping": _of_kind(Kind.MAP),
    "boolean": _of_kind(Kind.BOOL),
    "iterable": _of_kind(*_ITERABLE),
    "integer": _is_integer,
    "int": _is_integer,
    "float": lambda _context, value: type(value) is float,
    "odd": _parity(1),
    "even": _parity(0),
    "divisibleby": _divides,
    "startingwith": _starts,
    "endingwith": _ends,
    "lower": _has_case("islower"),
    "upper": _has_case("isupper"),
    "sameas": _is_same,
    "true": _is_true,
    "false": _is_false,
    "filter": _is_filter,
    "test": _is_test,
    "safe": _never,
    "escaped": _never,
    **{alias: _comparison(name) for name, names in _COMPARISONS.items() for alias in names},
}


def predicates_of(_dialect: Dialect) -> dict[str, Callable[..., Value]]:
    """Return the tests by name; both dialects have the same."""
    return Registry((name, pass_context(predicate)) for name, predicate in _PREDICATES.items())

"""The tests of ``is``."""

from collections.abc import Callable, Mapping
from typing import Final

from jinja2 import pass_context

from noetl_template import operators
from noetl_template.context import Operation, Registry, RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.stored import Stored
from noetl_template.values import Kind, Value
from noetl_template.walks import equal


def _of_kind(*kinds: Kind) -> Operation:
    wanted = frozenset(kinds)

    def has_kind(context: RenderContext, value: Value) -> bool:
        if isinstance(value, Stored):
            if kinds == (Kind.UNDEFINED,):
                return value.is_absent
            return value.kind in wanted
        return context.dialect.kind(value) in wanted

    return has_kind


def _comparison(name: str) -> Operation:
    def compares(context: RenderContext, value: Value, other: Value) -> bool:
        return operators.compare(context.dialect, context.budget, name, value, other)

    return compares


def _divides(_context: RenderContext, value: Value, divisor: Value) -> bool:
    if not isinstance(value, int | float) or not isinstance(divisor, int | float) or not divisor:
        return False
    return value % divisor == 0


def _parity(remainder: int) -> Operation:
    def has_parity(_context: RenderContext, value: Value) -> bool:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and value % 2 == remainder

    return has_parity


def _on_texts(test: Callable[[str, str], bool]) -> Operation:
    def holds(context: RenderContext, value: Value, other: Value) -> bool:
        texts = [context.dialect.text(each, context.budget) for each in (value, other)]
        context.budget.spend(len(texts[1]))
        return test(*texts)

    return holds


def _has_case(name: str) -> Operation:
    def has_case(context: RenderContext, value: Value) -> bool:
        if not isinstance(value, str):
            raise EvaluationError("invalid operation: value is not a string")
        context.budget.spend(len(value))
        chars = set(value)
        context.budget.visit(len(chars))
        return all(getattr(char, name)() for char in chars)

    return has_case


def _is_same(context: RenderContext, value: Value, other: Value) -> bool:
    if isinstance(value, Mapping | list):
        return value is other
    return type(value) is type(other) and equal(value, other, context.budget)


_IS_UNDEFINED: Final = _of_kind(Kind.UNDEFINED)
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
_PREDICATES: Final[dict[str, Operation]] = {
    "undefined": _IS_UNDEFINED,
    "defined": lambda context, value: not _IS_UNDEFINED(context, value),
    "none": _of_kind(Kind.NONE),
    "string": _of_kind(Kind.STRING),
    "number": _of_kind(Kind.NUMBER),
    "sequence": _of_kind(Kind.SEQUENCE),
    "mapping": _of_kind(Kind.MAP),
    "boolean": _of_kind(Kind.BOOL),
    "iterable": _of_kind(*_ITERABLE),
    **dict.fromkeys(("integer", "int"), lambda _, value: type(value) is int),
    "float": lambda _, value: type(value) is float,
    "odd": _parity(1),
    "even": _parity(0),
    "divisibleby": _divides,
    "startingwith": _on_texts(str.startswith),
    "endingwith": _on_texts(str.endswith),
    "lower": _has_case("islower"),
    "upper": _has_case("isupper"),
    "sameas": _is_same,
    "true": lambda _, value: value is True,
    "false": lambda _, value: value is False,
    "filter": lambda c, value: isinstance(value, str) and value in c.environment.filters,
    "test": lambda c, value: isinstance(value, str) and value in c.environment.tests,
    **dict.fromkeys(("safe", "escaped"), lambda _, _value: False),
    **{alias: _comparison(name) for name, names in _COMPARISONS.items() for alias in names},
}

PREDICATES: Final = Registry((name, pass_context(test)) for name, test in _PREDICATES.items())
"""The tests by name; both dialects have the same."""

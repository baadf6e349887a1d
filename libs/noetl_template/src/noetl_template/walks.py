"""Traversal of whole values: whether they print as JSON, and whether two values are equal."""

import math
import re
from typing import Final

from noetl_template.errors import EvaluationError
from noetl_template.limits import Budget
from noetl_template.values import (
    INT64_MAX,
    INT64_MIN,
    LISTS,
    MAPS,
    MAX_NESTING,
    SHORT,
    BuiltList,
    BuiltMap,
    Group,
    Placeholder,
    Value,
    distinct_chars,
    is_hidden,
)

# Characters that a printed container shows in a form that JSON doesn't allow.
_UNPRINTABLE_ASCII: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CONTAINERS: Final = frozenset({list, dict, BuiltList, BuiltMap, Group})


def prints_as_json(  # noqa: C901, PLR0911, PLR0912 - a branch per type
    value: Value, budget: Budget, *, depth: int = 0
) -> bool:
    """Return whether the printed form of a list or map is JSON again, and equal to it.

    The whole value is visited, so that a value that passes is within the limits.
    """
    if depth > MAX_NESTING:
        raise EvaluationError("value is nested too deeply")
    kind = type(value)
    if kind in LISTS:
        values = value
    elif kind in MAPS:
        values = value.values()
        for key in value:
            if type(key) is not str or not (_is_plain(key) or _text_prints_as_json(key, budget)):
                return False
    else:
        return False
    budget.visit(len(values))
    # There may be very many values, mostly scalars, so this loop avoids a call for each of them.
    for one in values:
        of = type(one)
        if of is str:
            if not _is_plain(one) and not _text_prints_as_json(one, budget):
                return False
        elif of is int:
            if not INT64_MIN <= one <= INT64_MAX:
                return False
        elif of is float:
            if not math.isfinite(one):
                return False
        elif of is not bool and not prints_as_json(one, budget, depth=depth + 1):
            return False
    return True


def _is_plain(text: str) -> bool:
    return len(text) <= SHORT and text.isascii() and text.isprintable()


def _text_prints_as_json(text: str, budget: Budget) -> bool:
    if len(text) > SHORT:
        budget.spend(len(text))
    if text.isascii():
        return text.isprintable() or _UNPRINTABLE_ASCII.search(text) is None
    if _UNPRINTABLE_ASCII.search(text) is not None:
        return False
    return not any(is_hidden(char) for char in distinct_chars(text, budget) if not char.isascii())


def equal(left: Value, right: Value, budget: Budget) -> bool:
    """Compare two values like Python, and pay for each visited value."""
    if left is right:
        return not isinstance(left, float) or left == right
    if type(left) not in _CONTAINERS or type(right) not in _CONTAINERS:
        if type(left) is str and len(left) > SHORT:
            budget.spend(len(left))
        for one in (left, right):
            if isinstance(one, Placeholder):
                one.refuse()
        return bool(left == right)
    if isinstance(left, dict) is not isinstance(right, dict) or len(left) != len(right):
        return False
    budget.visit(2 * len(left))
    if isinstance(left, dict):
        return all(key in right and _same(value, right[key], budget) for key, value in left.items())
    return all(_same(one, other, budget) for one, other in zip(left, right, strict=True))


def _same(left: Value, right: Value, budget: Budget) -> bool:
    # Inside lists and maps, Python treats an identical value as equal, even NaN.
    return left is right or equal(left, right, budget)

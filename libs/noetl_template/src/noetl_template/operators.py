"""Arithmetic, comparison, containment and slicing by the rules of the reference server."""

import math
import operator as python
from collections.abc import Callable, Sequence
from typing import Final

from noetl_template.containers import joined, listed, repeated
from noetl_template.errors import EvaluationError
from noetl_template.limits import Budget
from noetl_template.values import SHORT, Dialect, Kind, Value, size_of
from noetl_template.walks import equal

# The reference server computes integers in 128 bits and refuses larger ones.
_INT_MIN: Final = -(2**127)
_INT_MAX: Final = 2**127 - 1
_MAX_EXPONENT: Final = 127
_EQUALITIES: Final = {"eq": True, "ne": False}
_ORDERS: Final[dict[str, Callable[[int, int], bool]]] = {
    "lt": python.lt, "lteq": python.le, "gt": python.gt, "gteq": python.ge,
}  # fmt: skip
_SIMPLE: Final[dict[str, Callable[..., Value]]] = {
    "+": python.add, "-": python.sub, "*": python.mul,
}  # fmt: skip


def binary(dialect: Dialect, budget: Budget, operator: str, left: Value, right: Value) -> Value:
    """Apply one of ``+ - * / // % **``.

    Raises:
        EvaluationError: The operands don't support it, or the result can't be calculated.
    """
    budget.spend()
    if _is_number(left) and _is_number(right):
        return _calculate(operator, left, right)
    if operator == "+":
        return _join(dialect, budget, left, right)
    if operator == "*":
        return _repeat(dialect, budget, left, right)
    raise _unsupported(dialect, operator, left, right)


def unary(operator: str, value: Value) -> Value:
    """Apply a sign."""
    if not _is_number(value) or isinstance(value, bool):
        raise EvaluationError("invalid operation")
    return -value if operator == "-" else value


def compare(dialect: Dialect, budget: Budget, operator: str, left: Value, right: Value) -> bool:
    """Apply one comparison of a chain, by its name in the syntax tree."""
    budget.spend(size_of(left))
    if operator in _EQUALITIES:
        return equal(left, right, budget) is _EQUALITIES[operator]
    if operator in _ORDERS:
        return _ORDERS[operator](dialect.order(left, right, budget), 0)
    return contains(dialect, budget, right, left) is (operator == "in")


def contains(dialect: Dialect, budget: Budget, container: Value, value: Value) -> bool:
    """Return whether ``value in container``; nothing is in an undefined container."""
    budget.spend(size_of(container))
    match dialect.kind(container):
        case Kind.UNDEFINED:
            return False
        case Kind.STRING:
            return dialect.text(value, budget) in container
        case Kind.SEQUENCE:
            return _has_element(dialect, budget, container, value)
        case Kind.MAP:
            return isinstance(value, str | int | float) and value in container
        case _:
            raise EvaluationError(
                "invalid operation: cannot perform a containment check on this value"
            )


def _has_element(
    dialect: Dialect, budget: Budget, container: Sequence[Value], value: Value
) -> bool:
    if dialect.kind(value) in {Kind.SEQUENCE, Kind.MAP}:
        budget.visit(len(container))
        return any(equal(element, value, budget) for element in container)
    if isinstance(value, str) and len(value) > SHORT:
        # Comparing texts of the same length may read them to their ends.
        length = len(value)
        alike = sum(isinstance(element, str) and len(element) == length for element in container)
        budget.visit(len(container))
        budget.spend(alike * length)
    return value in container


def concatenate(dialect: Dialect, budget: Budget, values: tuple[Value, ...]) -> str:
    """Return the concatenation of the printed values (``~``)."""
    parts = [dialect.text(value, budget) for value in values]
    length = sum(map(len, parts))
    budget.check_length(length)
    budget.spend(length)
    return "".join(parts)


def cut(
    dialect: Dialect, budget: Budget, value: Value, wanted: tuple[Value, Value, Value]
) -> Value:
    """Return ``value[start:stop:step]`` of a string or a list."""
    bounds = [_bound(dialect, bound) for bound in wanted]
    if bounds[2] == 0:
        raise EvaluationError("invalid operation: cannot slice by step size of 0")
    match dialect.kind(value):
        case Kind.STRING:
            budget.spend(len(value))
            return value[slice(*bounds)]
        case Kind.SEQUENCE:
            budget.spend(len(value))
            return listed(budget, value[slice(*bounds)])
        case Kind.UNDEFINED | Kind.NONE:
            return []
        case kind:
            raise EvaluationError(f"invalid operation: value of type {kind.word} cannot be sliced")


def _bound(dialect: Dialect, bound: Value) -> int | None:
    if isinstance(bound, int):
        return bound
    if dialect.kind(bound) in {Kind.UNDEFINED, Kind.NONE}:
        return None
    raise EvaluationError("invalid operation: slice bounds must be integers")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _calculate(operator: str, left: float, right: float) -> float:
    if operator == "/":
        return _divide(float(left), float(right))
    if isinstance(left, int) and isinstance(right, int):
        return _calculate_integers(operator, int(left), int(right))
    result: float = _OF_FLOATS[operator](float(left), float(right))
    return result


def _calculate_integers(operator: str, left: int, right: int) -> int:
    result: int | None = None
    if not (_INT_MIN <= left <= _INT_MAX and _INT_MIN <= right <= _INT_MAX):
        raise EvaluationError("invalid operation: integer is too large")
    match operator:
        case "//" if right:
            result = (left - left % abs(right)) // right
        case "%" if right:
            result = left % abs(right)
        case "**" if 0 <= right <= _MAX_EXPONENT or (right > 0 and abs(left) <= 1):
            result = left**right
        case "+" | "-" | "*":
            result = _SIMPLE[operator](left, right)
    if result is None or not _INT_MIN <= result <= _INT_MAX:
        raise EvaluationError(f"invalid operation: unable to calculate {left} {operator} {right}")
    return result


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> float:
    """Return the remainder of floats: with the sign of the left side, unlike that of integers."""
    if right == 0 or not math.isfinite(left):
        return math.nan
    return math.fmod(left, right)


def _floor_divide(left: float, right: float) -> float:
    quotient = _divide(left, right)
    if not math.isfinite(quotient):
        return quotient
    whole = math.copysign(float(math.trunc(quotient)), quotient)  # -0.0 stays that
    if _remainder(left, right) < 0:
        return whole - math.copysign(1.0, right)
    return whole


def _power(left: float, right: float) -> float:
    try:
        result = left**right
    except (OverflowError, ZeroDivisionError):
        return math.inf
    # A negative base with a broken exponent has no real result.
    return math.nan if isinstance(result, complex) else result


_OF_FLOATS: Final = {**_SIMPLE, "//": _floor_divide, "%": _remainder, "**": _power}


def _join(dialect: Dialect, budget: Budget, left: Value, right: Value) -> Value:
    kinds = (dialect.kind(left), dialect.kind(right))
    if kinds == (Kind.STRING, Kind.STRING):
        length = len(left) + len(right)
        budget.check_length(length)
        budget.spend(length)
        return left + right
    if kinds == (Kind.SEQUENCE, Kind.SEQUENCE):
        return joined(budget, left, right)
    raise _unsupported(dialect, "+", left, right)


def _repeat(dialect: Dialect, budget: Budget, left: Value, right: Value) -> Value:
    if _is_number(left):
        left, right = right, left
    kind = dialect.kind(left)
    if kind not in {Kind.STRING, Kind.SEQUENCE}:
        raise _unsupported(dialect, "*", left, right)
    if isinstance(right, float) and right.is_integer():
        right = int(right)
    if not isinstance(right, int) or right < 0:
        noun = "strings" if kind is Kind.STRING else "sequences"
        raise EvaluationError(f"invalid operation: {noun} can only be multiplied with integers")
    if kind is Kind.SEQUENCE:
        return repeated(budget, left, right)
    length = len(left) * right
    budget.check_length(length)
    budget.spend(length)
    return left * right


def _unsupported(dialect: Dialect, operator: str, left: Value, right: Value) -> EvaluationError:
    kinds = f"{dialect.kind(left).word} and {dialect.kind(right).word}"
    return EvaluationError(
        f"invalid operation: tried to use {operator} operator on unsupported types {kinds}"
    )

"""Filters on numbers."""

import math
import re
from typing import Final

from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.values import INT64_MAX, INT64_MIN, Kind, Value

_FLOAT: Final = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|infinity|nan)",
    re.ASCII | re.IGNORECASE,
)
_MAX_DECIMALS: Final = 30


def absolute(_context: RenderContext, value: Value) -> Value:
    if type(value) not in {int, float}:
        raise EvaluationError("invalid operation: cannot get absolute value")
    return abs(value)


def rounded(context: RenderContext, value: Value, precision: Value = 0) -> Value:
    if type(value) is int:
        return value
    if type(value) is not float:
        kind = context.dialect.kind(value).word
        raise EvaluationError(f"invalid operation: cannot round value ({kind})")
    if type(precision) is not int:
        raise EvaluationError("invalid operation: precision must be an integer")
    if not math.isfinite(value) or precision > _MAX_DECIMALS:
        return value
    scale = 10.0 ** max(precision, -_MAX_DECIMALS)
    scaled = value * scale
    # Halves are rounded away from zero, not to the even neighbour.
    whole = math.copysign(math.floor(abs(scaled) + 0.5), scaled)
    return whole / scale


def boolean(_context: RenderContext, value: Value) -> bool:
    return bool(value)


def total(context: RenderContext, value: Value) -> Value:
    result: Value = 0
    for element in context.dialect.elements(value, context.budget):
        if context.dialect.kind(element) is Kind.UNDEFINED:
            continue
        if type(element) not in {int, float}:
            kind = context.dialect.kind(element).word
            raise EvaluationError(f"invalid operation: can only sum numbers, got {kind}")
        result += element
    return result


def parse_float(text: str) -> float | None:
    """Parse a number in the notation of the reference server; return None for other texts."""
    return float(text) if _FLOAT.fullmatch(text) else None


def truncated(number: float) -> int:
    """Return the integer part, limited to 64 bits."""
    if math.isnan(number):
        return 0
    if -(2.0**63) <= number < 2.0**63:
        return int(number)
    return INT64_MAX if number > 0 else INT64_MIN


def strict_int(context: RenderContext, value: Value) -> int:
    return value if type(value) is int else truncated(_strict(context, value, "int"))


def strict_float(context: RenderContext, value: Value) -> float:
    return _strict(context, value, "float")


def _strict(context: RenderContext, value: Value, name: str) -> float:
    if isinstance(value, int | float):
        return float(value)
    text = context.dialect.text(value, context.budget).strip()
    number = parse_float(text)
    if number is None:
        problem = "invalid float literal" if text else "cannot parse float from empty string"
        raise EvaluationError(f"{name} error: {problem}")
    return number


def lenient_int(context: RenderContext, value: Value) -> int:
    return value if type(value) is int else truncated(lenient_float(context, value))


def lenient_float(_context: RenderContext, value: Value) -> float:
    if type(value) in {int, float}:
        return float(value)
    if isinstance(value, str):
        return parse_float(value.strip()) or 0.0
    return 0.0

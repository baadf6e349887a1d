"""Sorting by the order of templates; the budget pays for each comparison."""

from collections.abc import Callable

from noetl_template.context import RenderContext
from noetl_template.values import SHORT, Value


def in_order(
    context: RenderContext,
    elements: list[Value],
    key: Callable[[Value], Value],
    *,
    reverse: bool = False,
) -> list[Value]:
    """Return the elements sorted by their keys; the sort is stable."""
    keyed = [(key(element), element) for element in elements]
    count = len(keyed)
    comparisons = count * count.bit_length()
    if _compares_fast([wanted for wanted, _ in keyed]):
        context.budget.spend(2 * comparisons)
        keyed.sort(key=lambda pair: pair[0], reverse=reverse)
    else:
        context.budget.visit(2 * comparisons)
        dialect, budget = context.dialect, context.budget
        keyed.sort(key=lambda pair: dialect.sort_key(pair[0], budget), reverse=reverse)
    return [element for _, element in keyed]


def folded(context: RenderContext, value: Value) -> Value:
    """Return the key of a value for a case-insensitive sort."""
    if not isinstance(value, str):
        return value
    if len(value) > SHORT:
        context.budget.spend(len(value))
    return value.lower()


def _compares_fast(keys: list[Value]) -> bool:
    """Return whether Python orders the keys like templates: only short texts, or only numbers."""
    kinds = set(map(type, keys))
    if kinds == {str}:
        return max(map(len, keys)) <= SHORT
    return bool(kinds) and kinds <= {int, float}

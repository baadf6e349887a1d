"""Filters on maps."""

from collections.abc import Mapping

from noetl_template.containers import listed
from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.filters.ordering import folded, in_order
from noetl_template.values import Value


def _mapping(name: str, value: Value) -> Mapping[Value, Value]:
    if not isinstance(value, Mapping):
        raise EvaluationError(f"invalid operation: {name} requires mapping")
    return value


def keys(context: RenderContext, value: Value) -> list[Value]:
    found = context.dialect.sorted_keys(_mapping("keys", value), context.budget)
    return listed(context.budget, found)


def values(context: RenderContext, value: Value) -> list[Value]:
    pairs = context.dialect.sorted_items(_mapping("values", value), context.budget)
    return listed(context.budget, [entry for _, entry in pairs])


def items(context: RenderContext, value: Value) -> list[Value]:
    if not isinstance(value, Mapping):
        raise EvaluationError("invalid operation: cannot convert value into pairs")
    pairs = context.dialect.sorted_items(value, context.budget)
    rows: list[Value] = [listed(context.budget, list(pair)) for pair in pairs]
    return listed(context.budget, rows, made=3 * len(rows))


def get(context: RenderContext, value: Value, key: Value) -> Value:
    return context.environment.getitem(_mapping("get", value), key)


def attribute(context: RenderContext, value: Value, key: Value) -> Value:
    if value is context.dialect.undefined:
        raise EvaluationError("undefined value")
    return context.environment.getitem(value, key)


def dict_sort(
    context: RenderContext,
    value: Value,
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
    by: Value = "key",
    reverse: Value = False,  # noqa: FBT002 - the order templates pass it in
) -> list[Value]:
    if not isinstance(value, Mapping):
        raise EvaluationError("invalid operation: cannot convert value into pair list")
    position = {"key": 0, "value": 1}.get(by)
    if position is None:
        raise EvaluationError("invalid operation: invalid value for by argument")

    def key(pair: list[Value]) -> Value:
        wanted = pair[position]
        return wanted if case_sensitive else folded(context, wanted)

    pairs = in_order(context, items(context, value), key)
    return listed(context.budget, pairs[::-1] if reverse else pairs, made=3 * len(pairs))

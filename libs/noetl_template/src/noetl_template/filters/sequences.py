"""Filters on lists; maps count as their keys, strings as their characters."""

from collections.abc import Callable, Mapping
from functools import cmp_to_key

from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.registry import Operation
from noetl_template.values import Group, Kind, Value


def as_list(context: RenderContext, value: Value) -> list[Value]:
    if context.dialect.kind(value) in {Kind.BOOL, Kind.NUMBER}:
        raise EvaluationError("invalid operation: cannot convert value to list")
    return list(context.dialect.elements(value))


def reverse(context: RenderContext, value: Value) -> Value:
    match context.dialect.kind(value):
        case Kind.STRING:
            return value[::-1]
        case Kind.UNDEFINED | Kind.NONE:
            return value
        case _:
            return context.dialect.elements(value)[::-1]


def batch(context: RenderContext, value: Value, count: Value, fill: Value = None) -> list[Value]:
    count = _positive(count)
    elements = context.dialect.elements(value)
    groups = [elements[start : start + count] for start in range(0, len(elements), count)]
    if groups and fill is not None:
        missing = count - len(groups[-1])
        context.budget.check_length(missing)
        groups[-1] = groups[-1] + [fill] * missing
    return groups


def slices(context: RenderContext, value: Value, count: Value, fill: Value = None) -> list[Value]:
    count = _positive(count)
    context.budget.check_length(count)
    context.budget.spend(64 * count)
    elements = context.dialect.elements(value)
    size, longer = divmod(len(elements), count)
    groups = []
    start = 0
    for number in range(count):
        end = start + size + (number < longer)
        group = elements[start:end]
        if fill is not None and number >= longer:
            group = [*group, fill]
        groups.append(group)
        start = end
    return groups


def _positive(count: Value) -> int:
    if type(count) is not int or count < 0:
        raise EvaluationError("invalid operation: count must be a positive integer")
    if count == 0:
        raise EvaluationError("invalid operation: count cannot be 0")
    return count


def chain(context: RenderContext, value: Value, *others: Value) -> Value:
    if all(isinstance(part, Mapping) for part in (value, *others)):
        merged = dict(value)
        for other in others:
            merged.update(other)
        return merged
    elements = list(context.dialect.elements(value))
    for other in others:
        elements.extend(context.dialect.elements(other))
    return elements


def zipped(context: RenderContext, value: Value, *others: Value) -> list[list[Value]]:
    columns = [context.dialect.elements(column) for column in (value, *others)]
    return [list(row) for row in zip(*columns, strict=False)]


def extreme(choose: Callable[..., Value]) -> Operation:
    """Return the filter that gives the element chosen by ``min`` or ``max``."""

    def chosen(context: RenderContext, value: Value) -> Value:
        elements = context.dialect.elements(value)
        if not elements:
            return context.dialect.undefined
        return choose(elements, key=cmp_to_key(context.dialect.order))

    return chosen


def sort(
    context: RenderContext,
    value: Value,
    reverse: Value = False,  # noqa: FBT002 - the order templates pass it in
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
    attribute: Value = None,
) -> list[Value]:
    def key(element: Value) -> Value:
        if not isinstance(attribute, str):
            wanted: Value = _folded(element, case_sensitive=case_sensitive)
        else:
            wanted = [
                _folded(look_up(context, element, path.strip()), case_sensitive=case_sensitive)
                for path in attribute.split(",")
            ]
        return context.dialect.sort_key(wanted)

    return sorted(context.dialect.elements(value), key=key, reverse=bool(reverse))


def unique(
    context: RenderContext,
    value: Value,
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
    attribute: Value = None,
) -> list[Value]:
    seen: set[Value] = set()
    kept = []
    for element in context.dialect.elements(value):
        wanted = element if attribute is None else look_up(context, element, attribute)
        key = _hashable(context, _folded(wanted, case_sensitive=case_sensitive))
        if key not in seen:
            seen.add(key)
            kept.append(element)
    return kept


def group_by(
    context: RenderContext,
    value: Value,
    attribute: Value,
    default: Value = None,
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
) -> list[Group]:
    def grouper(element: Value) -> Value:
        found = look_up(context, element, attribute)
        return default if found is context.dialect.undefined and default is not None else found

    keyed = [(grouper(element), element) for element in context.dialect.elements(value)]
    keyed.sort(
        key=lambda pair: context.dialect.sort_key(_folded(pair[0], case_sensitive=case_sensitive))
    )
    groups: list[Group] = []
    last: Value = object()
    for key, element in keyed:
        folded = _folded(key, case_sensitive=case_sensitive)
        if not groups or folded != last:
            groups.append(Group([key, []]))
            last = folded
        # The group is named after its last spelling, as in the original server.
        groups[-1][0] = key
        groups[-1][1].append(element)
    return groups


def look_up(context: RenderContext, value: Value, path: Value) -> Value:
    """Follow a dotted path; numbers in it are positions."""
    if not isinstance(path, str):
        return context.environment.getitem(value, path)
    for name in path.split("."):
        key: Value = int(name) if name.isdecimal() and not isinstance(value, Mapping) else name
        value = context.environment.getitem(value, key)
    return value


def look_up_strictly(context: RenderContext, value: Value, path: Value) -> Value:
    """Like :func:`look_up`, but undefined has no attributes."""
    if value is context.dialect.undefined:
        raise EvaluationError("undefined value")
    return look_up(context, value, path)


def _folded(value: Value, *, case_sensitive: Value) -> Value:
    return value.lower() if isinstance(value, str) and not case_sensitive else value


def _hashable(context: RenderContext, value: Value) -> Value:
    match value:
        case list():
            return ("list", *(_hashable(context, element) for element in value))
        case Mapping():
            entries = context.dialect.sorted_items(value)
            return ("map", *((key, _hashable(context, entry)) for key, entry in entries))
        case bool() | int() | float() | str() | None:
            return value
        case _:
            return id(value)

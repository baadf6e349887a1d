"""Filters on lists; a map is treated as its keys, a string as its characters."""

from collections.abc import Callable, Mapping

from noetl_template.containers import grouped, listed, mapped
from noetl_template.context import Operation, RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.filters.ordering import folded, in_order
from noetl_template.values import INT64_MAX, INT64_MIN, Kind, Value
from noetl_template.walks import equal


def as_list(context: RenderContext, value: Value) -> list[Value]:
    if context.dialect.kind(value) in {Kind.BOOL, Kind.NUMBER}:
        raise EvaluationError("invalid operation: cannot convert value to list")
    return listed(context.budget, context.dialect.elements(value, context.budget))


def reverse(context: RenderContext, value: Value) -> Value:
    match context.dialect.kind(value):
        case Kind.STRING:
            return value[::-1]
        case Kind.UNDEFINED | Kind.NONE:
            return value
        case _:
            reversed_ = context.dialect.elements(value, context.budget)[::-1]
            return listed(context.budget, reversed_)


def batch(context: RenderContext, value: Value, count: Value, fill: Value = None) -> list[Value]:
    count = _positive(count)
    elements = context.dialect.elements(value, context.budget)
    starts = range(0, len(elements), count)
    context.budget.make(len(starts))
    groups = [elements[start : start + count] for start in starts]
    if groups and fill is not None:
        missing = count - len(groups[-1])
        context.budget.make(missing)
        groups[-1] = groups[-1] + [fill] * missing
    return _rows(context, groups)


def _rows(context: RenderContext, rows: list[list[Value]]) -> list[Value]:
    """Return a list of new lists."""
    made = len(rows) + sum(map(len, rows))
    return listed(context.budget, [listed(context.budget, row) for row in rows], made=made)


def slices(context: RenderContext, value: Value, count: Value, fill: Value = None) -> list[Value]:
    count = _positive(count)
    context.budget.make(count)
    elements = context.dialect.elements(value, context.budget)
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
    return _rows(context, groups)


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
            context.budget.visit(len(other))
            merged.update(other)
        return mapped(context.budget, merged)
    elements = list(context.dialect.elements(value, context.budget))
    for other in others:
        more = context.dialect.elements(other, context.budget)
        context.budget.make(len(elements) + len(more))
        elements.extend(more)
    return listed(context.budget, elements)


def zipped(context: RenderContext, value: Value, *others: Value) -> list[Value]:
    columns = [context.dialect.elements(column, context.budget) for column in (value, *others)]
    context.budget.make(min(map(len, columns)) * len(columns))
    return _rows(context, [list(row) for row in zip(*columns, strict=False)])


def extreme(choose: Callable[..., Value]) -> Operation:
    """Return the filter for the element that ``min`` or ``max`` chooses."""

    def chosen(context: RenderContext, value: Value) -> Value:
        elements = context.dialect.elements(value, context.budget)
        if not elements:
            return context.dialect.undefined
        context.budget.visit(4 * len(elements))
        dialect, budget = context.dialect, context.budget
        return choose(elements, key=lambda element: dialect.sort_key(element, budget))

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
            wanted: Value = _folded(context, element, case_sensitive=case_sensitive)
        else:
            wanted = [
                _folded(
                    context, lookup(context, element, path.strip()), case_sensitive=case_sensitive
                )
                for path in attribute.split(",")
            ]
        return wanted

    elements = context.dialect.elements(value, context.budget)
    return listed(context.budget, in_order(context, elements, key, reverse=bool(reverse)))


def unique(
    context: RenderContext,
    value: Value,
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
    attribute: Value = None,
) -> list[Value]:
    seen: set[Value] = set()
    kept = []
    elements = context.dialect.elements(value, context.budget)
    context.budget.visit(2 * len(elements))
    for element in elements:
        wanted = element if attribute is None else lookup(context, element, attribute)
        key = _hashable(context, _folded(context, wanted, case_sensitive=case_sensitive))
        if key not in seen:
            seen.add(key)
            kept.append(element)
    return listed(context.budget, kept)


def group_by(
    context: RenderContext,
    value: Value,
    attribute: Value,
    default: Value = None,
    case_sensitive: Value = False,  # noqa: FBT002 - the order templates pass it in
) -> list[Value]:
    def grouper(element: Value) -> Value:
        found = lookup(context, element, attribute)
        return default if found is context.dialect.undefined and default is not None else found

    keyed: list[Value] = [
        (grouper(element), element) for element in context.dialect.elements(value, context.budget)
    ]
    groups: list[tuple[Value, list[Value]]] = []
    last: Value = None
    for key, element in in_order(
        context, keyed, lambda pair: _folded(context, pair[0], case_sensitive=case_sensitive)
    ):
        spelling = _folded(context, key, case_sensitive=case_sensitive)
        if groups and equal(spelling, last, context.budget):
            # Like in the reference server, the last spelling is the name of the group.
            groups[-1] = (key, groups[-1][1])
        else:
            groups.append((key, []))
            last = spelling
        groups[-1][1].append(element)
    named: list[Value] = [grouped(context.budget, key, elements) for key, elements in groups]
    return listed(context.budget, named, made=len(keyed) + 3 * len(named))


def lookup(context: RenderContext, value: Value, path: Value) -> Value:
    """Return the value at a dotted path; numbers in the path are positions."""
    if not isinstance(path, str):
        return context.environment.getitem(value, path)
    if "." not in path and type(value) is dict:
        return context.environment.getitem(value, path)
    names = path.split(".")
    context.budget.visit(4 * len(names))
    for name in names:
        key: Value = int(name) if name.isdecimal() and not isinstance(value, Mapping) else name
        value = context.environment.getitem(value, key)
    return value


def lookup_strictly(context: RenderContext, value: Value, path: Value) -> Value:
    """Return the value at a path like :func:`lookup`, but fail for an undefined value."""
    if value is context.dialect.undefined:
        raise EvaluationError("undefined value")
    return lookup(context, value, path)


def _folded(context: RenderContext, value: Value, *, case_sensitive: Value) -> Value:
    return value if case_sensitive else folded(context, value)


def _hashable(context: RenderContext, value: Value) -> Value:
    """Return a hashable key that is equal for equal values.

    The key of a container is a text. Python hashes texts with a secret, so an attacker can't create
    many keys with one hash. Numbers up to 64 bits are safe as well.
    """
    match value:
        case bool() | float() | None:
            return value
        case int():
            return value if INT64_MIN <= value <= INT64_MAX else ("integer", str(value))
        case str():
            return value
        case list() | Mapping():
            return ("container", _spelled(context, value))
        case _:
            return id(value)


def _spelled(context: RenderContext, value: Value) -> str:
    """Return a text that is equal for equal values, where 1, 1.0 and true are equal."""
    match value:
        case list():
            context.budget.visit(2 * len(value))
            text = f"[{','.join([_spelled(context, element) for element in value])}]"
        case Mapping():
            context.budget.visit(2 * len(value))
            entries = context.dialect.sorted_items(value, context.budget)
            pairs = [f"{_spelled(context, k)}:{_spelled(context, v)}" for k, v in entries]
            text = f"{{{','.join(pairs)}}}"
        case str():
            context.budget.spend(len(value))
            return repr(value)
        case float() if not value.is_integer():
            return repr(value)
        case bool() | int() | float():
            return str(int(value))
        case None:
            return "null"
        case _:
            return f"<{id(value)}>"
    context.budget.check_length(len(text))
    context.budget.spend(len(text))
    return text

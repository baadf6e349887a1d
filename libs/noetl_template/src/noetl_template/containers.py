"""Lists and maps that a template creates, with their logical sizes.

Data from outside is JSON, a tree that is no larger than its text. But a template can put one list
into another list twice, and repeat that, until a few dozen small lists contain more values than any
machine can visit. So each list and map that a template creates stores its logical size, in which
repeated parts count each time. Data from outside counts as one value.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from noetl_template.limits import Budget
from noetl_template.values import BuiltList, BuiltMap, Group, Value

_BUILT: Final = frozenset({BuiltList, BuiltMap, Group})


def size_in(values: Iterable[Value]) -> int:
    """Return the total logical size of those ``values`` that the template created."""
    return sum(value.size for value in values if type(value) in _BUILT)


def logical_size(value: Value) -> int:
    """Return the logical size of a list or map."""
    return value.size if type(value) in _BUILT else len(value)


def listed(budget: Budget, elements: Sequence[Value], *, made: int = 0) -> BuiltList:
    """Return a list that a template creates.

    Args:
        budget: The rest of the limits.
        elements: The elements.
        made: The number of values created for the list, if more than its elements.

    Raises:
        LimitReached: The list is too large.
    """
    count = len(elements)
    budget.make(count)
    result = BuiltList(elements)
    # This test runs in C, because most lists contain no value that a template created.
    if _BUILT.isdisjoint(map(type, elements)):
        result.size = count
    else:
        result.size = count + size_in(elements)
        budget.check_nodes(result.size, made or count)
    return result


def mapped(budget: Budget, entries: Mapping[Value, Value]) -> BuiltMap:
    """Return a map that a template creates.

    Raises:
        LimitReached: The map is too large.
    """
    count = len(entries)
    budget.make(count)
    result = BuiltMap(entries)
    values = entries.values()
    if _BUILT.isdisjoint(map(type, values)):
        result.size = count
    else:
        result.size = count + size_in(values)
        budget.check_nodes(result.size, count)
    return result


def joined(budget: Budget, left: Value, right: Value) -> BuiltList:
    """Return the concatenation of two lists."""
    count = len(left) + len(right)
    budget.make(count)
    return _sized(budget, BuiltList(left + right), logical_size(left) + logical_size(right), count)


def repeated(budget: Budget, value: Value, times: int) -> BuiltList:
    """Return a list repeated some times."""
    count = len(value) * times
    budget.make(count)
    size = logical_size(value) * times
    budget.check_nodes(size, count)
    return _sized(budget, BuiltList(value * times), size, count)


def grouped(budget: Budget, key: Value, elements: list[Value]) -> Group:
    """Return a group of ``groupby``."""
    inner = listed(budget, elements)
    group = Group([key, inner])
    group.size = 2 + size_in(group)
    return group


def plain(value: Value) -> Value:
    """Return a value with plain lists and maps instead of those that store a size."""
    kind = type(value)
    if kind is BuiltList:
        if value.size == len(value):
            return list(value)
        return [plain(element) for element in value]
    if kind is BuiltMap:
        if value.size == len(value):
            return dict(value)
        return {key: plain(entry) for key, entry in value.items()}
    return value


def _sized(budget: Budget, result: BuiltList, size: int, made: int) -> BuiltList:
    budget.check_nodes(size, made)
    result.size = size
    return result

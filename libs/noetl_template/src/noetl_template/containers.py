"""Lists and maps that a template makes, which know how many values they hold.

What comes from outside is JSON: a tree, no larger than its text was. Only a template can put one
list into another twice, and again, until a few dozen small lists stand for more values than any
machine can walk over. So each list and map made by a template carries its logical size, with
repeated parts counted each time; whatever comes from outside counts as one value.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from noetl_template.limits import Budget
from noetl_template.values import BuiltList, BuiltMap, Group, Value

_BUILT: Final = frozenset({BuiltList, BuiltMap, Group})


def size_in(values: Iterable[Value]) -> int:
    """Return how many values the made lists and maps among ``values`` hold."""
    return sum(value.size for value in values if type(value) in _BUILT)


def logical_size(value: Value) -> int:
    """Return how many values a list or map holds, as far as a template made it."""
    return value.size if type(value) in _BUILT else len(value)


def listed(budget: Budget, elements: Sequence[Value], *, made: int = 0) -> BuiltList:
    """Return a list made by a template.

    Args:
        budget: What is left of the limits.
        elements: Its elements.
        made: How many values were made for it, if more than its elements.

    Raises:
        LimitReached: It is too large.
    """
    count = len(elements)
    budget.make(count)
    result = BuiltList(elements)
    # At the speed of C, since most lists hold nothing that a template made.
    if _BUILT.isdisjoint(map(type, elements)):
        result.size = count
    else:
        result.size = count + size_in(elements)
        budget.check_nodes(result.size, made or count)
    return result


def mapped(budget: Budget, entries: Mapping[Value, Value]) -> BuiltMap:
    """Return a map made by a template.

    Raises:
        LimitReached: It is too large.
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
    """Return two lists, one behind the other."""
    count = len(left) + len(right)
    budget.make(count)
    return _sized(budget, BuiltList(left + right), logical_size(left) + logical_size(right), count)


def repeated(budget: Budget, value: Value, times: int) -> BuiltList:
    """Return a list behind itself as often as wanted."""
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
    """Return a value without the lists and maps that know their size."""
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

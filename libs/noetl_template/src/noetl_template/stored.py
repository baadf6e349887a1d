"""Values that are kept elsewhere, of which templates see placeholders."""

from collections.abc import Mapping
from typing import Final, NoReturn, override

from noetl_template.errors import NotAtHand
from noetl_template.values import Value

# Words that stand beside `_ref` with some servers, and never in a value itself.
_ABSENT: Final = frozenset({"_preview", "_size_bytes", "_store"})
# A scope holds a value under its name, in an alias, in an element of a loop, or in one of those
# of an alias.
_LEVELS: Final = 4


class Stored(dict[str, Value]):
    """Placeholder of a value that is kept elsewhere: its reference, and fields that stay beside.

    To everything but templates it is that map. A template that asks for another field, or for
    all of it, gets the value once that is fetched; until then it fails.

    Attributes:
        ref: name of the value.
        fetched: the values that were fetched, by their names.
        copies_itself: whether templates find the value, if it is a map, once more as its `data`.
    """

    __slots__ = ("copies_itself", "fetched", "ref")

    def __init__(
        self,
        entries: Mapping[str, Value],
        *,
        ref: str,
        fetched: Mapping[str, Value],
        copies_itself: bool = False,
    ) -> None:
        super().__init__(entries)
        self.ref = ref
        self.fetched = fetched
        self.copies_itself = copies_itself

    @property
    def value(self) -> Value:
        """Return the value, which is fetched, as templates see it."""
        value = self.fetched[self.ref]
        if self.copies_itself and isinstance(value, dict) and "data" not in value:
            return {**value, "data": value}
        return value

    def entries(self) -> dict[str, Value]:
        """Return the fields that are at hand."""
        return {key: dict.__getitem__(self, key) for key in dict.keys(self)}

    def is_at_hand(self, key: Value) -> bool:
        """Return whether a field is here, or can't be in the value either."""
        return dict.__contains__(self, key) or key in _ABSENT

    @override
    def get(self, key: Value, default: Value = None, /) -> Value:
        """Return a field that is at hand; the default of a field that the value can't have."""
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        return default if key in _ABSENT else self._refuse()

    def _refuse(self, *_arguments: Value) -> NoReturn:
        raise NotAtHand(self)

    @override
    def __contains__(self, key: Value) -> bool:
        return dict.__contains__(self, key) or self._refuse()

    # Whatever templates look at all of it by; `walks.equal` compares.
    __bool__ = __ge__ = __gt__ = __iter__ = __le__ = __len__ = __lt__ = _refuse
    __or__ = __reversed__ = __ror__ = items = keys = values = _refuse


def with_fetched(scope: Mapping[str, Value]) -> dict[str, Value]:
    """Return a scope with fetched values in the places of their placeholders."""
    return {name: _filled(value, _LEVELS) for name, value in scope.items()}


def _filled(value: Value, levels: int) -> Value:
    if isinstance(value, Stored):
        return value.value if value.ref in value.fetched else value
    if levels and type(value) is list:
        found = [_filled(one, levels - 1) for one in value]
        is_same = all(one is other for one, other in zip(found, value, strict=True))
        return value if is_same else found
    if levels and type(value) is dict:
        filled = {key: _filled(one, levels - 1) for key, one in value.items()}
        return value if all(filled[key] is one for key, one in value.items()) else filled
    return value

"""Values that are kept elsewhere, of which templates see placeholders."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, override

from noetl_template.errors import NotAtHand
from noetl_template.values import Kind, Placeholder, Value

type Path = tuple[str | int | None, ...]
"""Keys and indexes from a value to a part of it; None in front is a map's `data`, or itself."""

# Words that stand beside `_ref` with some servers, and never in a value itself.
_ABSENT: Final = frozenset({"_preview", "_size_bytes", "_store"})
# A scope holds a value under its name, in an alias, in an element of a loop, or in one of those
# of an alias.
_LEVELS: Final = 4
OF_LOOPS: Final = frozenset({"results", "stats"})
"""Names that a list has if it is the result of a loop."""
UNKNOWN: Final = object()
"""Nothing is known of a part."""
MISSING: Final = object()
"""The value has no such part."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Description of a value that is too large to be fetched for a look into it.

    Attributes:
        kind: of the value: a map, a list or a text.
        length: number of its entries or elements; 0 for a text.
        entries: of a map, those that came with the outline.
        keys: of a map, all of them; None if they are not listed.
    """

    kind: Kind
    length: int = 0
    entries: Mapping[str, Value] = field(default_factory=dict)
    keys: frozenset[str] | None = None


class Parts:
    """All that was fetched of values that are kept elsewhere, by their names and paths."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Path], Value] = {}
        self._above: set[tuple[str, Path]] = set()

    def __bool__(self) -> bool:
        return bool(self._known)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._known.values())

    def put(self, ref: str, path: Path, value: Value) -> None:
        """Keep a value, an outline of it, or ``MISSING``."""
        self._known[ref, path] = value
        self._above.update((ref, path[:depth]) for depth in range(len(path)))

    def find(self, ref: str, path: Path) -> Value:
        """Return what is known of a part, or ``UNKNOWN``."""
        return self._known.get((ref, path), UNKNOWN)

    def lead_on(self, ref: str, path: Path) -> bool:
        """Return whether something in a part is known."""
        return (ref, path) in self._above


class Stored(Placeholder):
    """Placeholder of a value that is kept elsewhere: its reference, and fields that stay beside.

    To everything but templates it is that map. A template that looks into it gets the parts that
    are at hand, and placeholders of large ones; one that asks for another part, or for all of it,
    fails until that is fetched.

    Attributes:
        ref: name of the value.
        path: which part of the value this is.
        parts: what was fetched of all values.
        copies_itself: whether templates find the value, if it is a map, once more as its `data`.
    """

    __slots__ = ("copies_itself", "parts", "path", "ref")

    def __init__(
        self,
        entries: Mapping[str, Value],
        *,
        ref: str,
        parts: Parts,
        path: Path = (),
        copies_itself: bool = False,
    ) -> None:
        super().__init__(entries)
        self.ref = ref
        self.path = path
        self.parts = parts
        self.copies_itself = copies_itself

    @property
    def is_fetched(self) -> bool:
        """Whether the whole value is at hand."""
        found = [self.parts.find(self.ref, path) for path in {(), self.path}]
        return any(one is not UNKNOWN and not isinstance(one, Outline) for one in found)

    @property
    def value(self) -> Value:
        """Return the value, which is fetched, as templates see it."""
        value = self.parts.find(self.ref, self.path)
        if self.copies_itself and isinstance(value, dict) and "data" not in value:
            return {**value, "data": value}
        return None if value is MISSING else value

    @property
    def kind(self) -> Kind:
        """Return the kind of the value.

        Raises:
            NotAtHand: It is not known yet.
        """
        return self._outline().kind

    @property
    def is_absent(self) -> bool:
        """Return False, once it is known: the place of an absent value is taken by nothing.

        Raises:
            NotAtHand: It is not known yet whether this part is null.
        """
        return bool(self.path) and self._outline() is None

    @property
    def is_list(self) -> bool:
        """Whether the value is known to be a list."""
        found = self.parts.find(self.ref, self.path)
        return isinstance(found, Outline) and found.kind is Kind.SEQUENCE

    def entries(self) -> dict[str, Value]:
        """Return the fields that are at hand."""
        return {key: dict.__getitem__(self, key) for key in dict.keys(self)}

    def below(self, names: Iterable[str | int]) -> Self:
        """Return the placeholder of a part."""
        path: Path = (*names,)
        if self.copies_itself and path[:1] == ("data",):
            path = (None, *path[1:])
        return self._part((*self.path, *path))

    def _part(self, path: Path) -> Self:
        return type(self)({}, ref=self.ref, path=path, parts=self.parts)

    def _outline(self) -> Outline:
        found = self.parts.find(self.ref, self.path)
        if isinstance(found, Outline):
            return found
        # Where it is fetched, the template is rendered once more with the value itself.
        raise NotAtHand(self, is_whole=found is not UNKNOWN)

    @override
    def get(self, key: Value, default: Value = None, /) -> Value:
        """Return a part, the placeholder of a large one, or the default of one that is missing."""
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        if not self.path and key in _ABSENT:
            return default
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if type(key) not in {str, int}:
            return default
        below = self.below([key])
        known = self.parts.find(self.ref, below.path)
        # Of a `data` that is a copy the outline doesn't know.
        is_copy = below.path[-1] is None
        if known is UNKNOWN and not is_copy and not self.parts.lead_on(self.ref, below.path):
            known = self._found_by_outline(key)
        if known is UNKNOWN or isinstance(known, Outline):
            return below
        return default if known is MISSING else known

    def _found_by_outline(self, key: str | int) -> Value:
        """Return what the outline says of an entry or element, which is asked for by its key."""
        outline = self._outline()
        if outline.kind is Kind.MAP:
            is_there = type(key) is str and (outline.keys is None or key in outline.keys)
            return outline.entries.get(str(key), UNKNOWN) if is_there else MISSING
        if outline.kind is Kind.SEQUENCE and key not in OF_LOOPS:
            is_there = type(key) is int and -outline.length <= key < outline.length
            return UNKNOWN if is_there else MISSING
        return MISSING if type(key) is str and outline.kind is Kind.STRING else self.refuse()

    @override
    def __contains__(self, key: Value) -> bool:
        if dict.__contains__(self, key):
            return True
        outline = self._outline()
        if outline.kind is not Kind.MAP or outline.keys is None:
            self.refuse()
        return key in outline.keys

    def __len__(self) -> int:
        outline = self._outline()
        is_map = outline.kind is Kind.MAP
        if outline.kind is Kind.STRING or (is_map and self.copies_itself and outline.keys is None):
            self.refuse()
        return outline.length + (self.copies_itself and "data" not in (outline.keys or ("data",)))

    def __bool__(self) -> bool:
        return self._outline().kind is Kind.STRING or self._outline().length > 0

    # Whatever templates look at all of it by; `walks.equal` compares.
    __ge__ = __gt__ = __iter__ = __le__ = __lt__ = Placeholder.refuse
    __or__ = __reversed__ = __ror__ = items = keys = values = Placeholder.refuse


def with_fetched(scope: Mapping[str, Value]) -> dict[str, Value]:
    """Return a scope with fetched values in the places of their placeholders."""
    return {name: _filled(value, _LEVELS) for name, value in scope.items()}


def _filled(value: Value, levels: int) -> Value:
    if isinstance(value, Stored):
        return value.value if value.is_fetched else value
    if levels and type(value) is list:
        found = [_filled(one, levels - 1) for one in value]
        is_same = all(one is other for one, other in zip(found, value, strict=True))
        return value if is_same else found
    if levels and type(value) is dict:
        filled = {key: _filled(one, levels - 1) for key, one in value.items()}
        return value if all(filled[key] is one for key, one in value.items()) else filled
    return value

"""Data of stored results as templates see it, and the variables that results set.

For one above the inline limit a placeholder stands, until what a template names of it is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, override

from noetl_contract.json import Json
from noetl_contract.tools import merge_labels
from noetl_contract.tools.results import Part, PartPath
from noetl_template import MISSING, UNKNOWN, Kind, Outline, Parts, Stored

_SCHEME = "noetl://execution/"
_SCOPE_WORDS = ("ctx.", "iter.", "step.")
_SMALL_BYTES: Final = 256 << 10
"""Results of up to this size together are read as a whole, for whatever a template names."""
_KINDS: Final = {"map": Kind.MAP, "list": Kind.SEQUENCE, "text": Kind.STRING}


def bare_name(key: str) -> str:
    """Return a ``set`` key without its scope word, which carries no meaning on this side."""
    for word in _SCOPE_WORDS:
        if key.startswith(word):
            return key[len(word) :]
    return key


def unwrap(result: Json) -> Json:
    """Return the data of a stored result as templates see it, but for the self copy."""
    if not isinstance(result, dict):
        return result
    context = result.get("context")
    if not isinstance(context, dict):
        return result if context is None else context
    inner = context.get("result")
    inner = inner.get("context") if isinstance(inner, dict) else None
    if isinstance(inner, dict) and "data" in inner:
        return merge_labels(inner["data"])
    if "data" in context:
        return merge_labels(context["data"])
    return context


def with_self_copy(data: Json) -> Json:
    """Add a ``data`` entry with a copy of itself to an object that has none."""
    if isinstance(data, dict) and "data" not in data:
        return {**data, "data": data}
    return data


def tool_data(result: Json) -> Json:
    """Return the tool's own data in a ``call.done`` result, before any flattening."""
    context = result.get("context") if isinstance(result, dict) else None
    inner = context.get("result") if isinstance(context, dict) else None
    inner = inner.get("context") if isinstance(inner, dict) else None
    return inner.get("data") if isinstance(inner, dict) else None


def context_updates(result: Json) -> Mapping[str, Json]:
    """Return the variables that a pipeline's policy rules set for later steps."""
    data = tool_data(result)
    updates = data.get("_context_updates") if isinstance(data, dict) else None
    return updates if isinstance(updates, dict) else {}


type PartName = tuple[str, PartPath]
"""The reference of a stored result, and the path to a part of it."""


class StoredResult(Stored):
    """A result that is kept in the result store, or a part of it, as templates see it.

    Attributes:
        kept: all that is known of the results of its execution.
        size: bytes of its document; 0 where its worker has not said.
        family: the results of the other iterations of its loop, itself too.
    """

    __slots__ = ("family", "kept", "size")
    kept: "StoredResults"
    size: int
    family: "list[StoredResult]"

    @property
    def name(self) -> str:
        """The result as errors name it, with the path to the part."""
        step = self.ref.removeprefix(_SCHEME).partition("/result/")[2].rpartition("/")[0]
        path = ".".join("data" if one is None else str(one) for one in self.path)
        result = f"the result of step '{step}'"
        return f"'{path}' in {result}" if path else result

    def wanted(self, *, is_whole: bool) -> dict[PartName, bool]:
        """Return the parts to read, each with whether an outline of it is not enough.

        Whoever has read one of a loop's results and asks for a second one goes through all.
        """
        left = [one for one in self.family if not one.is_known(self.path, is_whole=is_whole)]
        asked = left if len(left) < len(self.family) else [self]
        sizes = [one.size for one in asked]
        if all(sizes) and sum(sizes) <= _SMALL_BYTES:
            return {(one.ref, ()): True for one in asked}  # one request for all their parts
        return {(one.ref, self.path): is_whole for one in asked}

    def is_known(self, path: PartPath, *, is_whole: bool) -> bool:
        """Return whether a part of this result was read, or is withheld."""
        part = self._part(path)
        if part.is_fetched or part.withheld is not None:
            return True
        return not is_whole and self.parts.find(self.ref, path) is not UNKNOWN

    @property
    def withheld(self) -> str | None:
        """Why this can't be had; None if nothing speaks against it."""
        withheld = self.kept.withheld
        return withheld.get((self.ref, self.path)) or withheld.get((self.ref, ()))

    @override
    def _part(self, path: PartPath) -> "StoredResult":
        part = super()._part(path)
        part.kept, part.size, part.family = self.kept, self.size, self.family
        return part


@dataclass(slots=True)
class StoredResults:
    """The results of one execution that were read from the result store, by their references."""

    execution_id: int = 0
    parts: Parts = field(default_factory=Parts)
    """As templates see them, but for the self copy."""
    withheld: dict[PartName, str] = field(default_factory=dict)
    """Why others are not: too large, or gone."""
    refs: set[str] = field(default_factory=set)
    """Of the results seen so far: those of an origin name another execution."""
    are_seen: bool = False
    """Whether any result of the execution stands as a reference."""

    def take(self, parts: Mapping[PartName, Part], withheld: Mapping[PartName, str]) -> None:
        """Take parts of results, or why they can't be had."""
        for (ref, path), part in parts.items():
            outline = part.outline
            if outline is not None:
                keys = None if outline.keys is None else frozenset(outline.keys)
                kind = _KINDS[outline.kind]
                shown = Outline(kind, outline.length, outline.entries, keys)
                self.parts.put(ref, path[: part.depth], shown)
            else:
                self.parts.put(ref, path, MISSING if part.is_missing else part.value)
        self.withheld = dict(withheld)

    def data_of(self, result: Json) -> Json:
        """Return the data of a stored ``call.done`` result, with its self copy."""
        data = unwrap(result)
        reference = _reference_in(data)
        if reference is None:
            return with_self_copy(data)
        return self._mark(data, reference, result, copies_itself=True)

    def iteration_data_of(self, result: Json) -> Json:
        """Return the data of an iteration's ``call.done`` result."""
        data = unwrap(result)
        reference = _reference_in(data)
        return data if reference is None else self._mark(data, reference, result)

    def element(self, value: Json) -> Json:
        """Return an element of a loop with the placeholders of stored results marked as such.

        It may be an iteration's part of the result of another loop.
        """
        reference = _reference_in(value)
        if reference is not None:
            return self._mark(value, reference, None)
        inner = value.get("data") if isinstance(value, dict) else None
        reference = _reference_in(inner)
        if reference is None:
            return value
        return {**value, "data": self._mark(inner, reference, None)}

    @staticmethod
    def join(entries: Iterable[Mapping[str, Json]]) -> None:
        """Make the references in a loop's result a family."""
        family = [one for entry in entries if isinstance(one := entry["data"], StoredResult)]
        for one in family:
            one.family = family

    def _mark(self, data: Json, ref: str, result: Json, *, copies_itself: bool = False) -> Json:
        if isinstance(data, StoredResult):
            if data.kept is self:
                return data
            data = data.entries()  # of this execution before it was read again
        said = _said_of(result)
        is_own = ref.startswith(f"{_SCHEME}{self.execution_id}/") or ref in self.refs
        if not is_own and said.get("ref") != ref:
            # The result of another execution: a value like any other.
            return with_self_copy(data) if copies_itself else data
        made = self._stored(data, ref, said, copies_itself=copies_itself)
        if copies_itself and "data" not in data:
            made["data"] = self._stored(data, ref, said, path=(None,))
        return made

    def _stored(
        self,
        data: Json,
        ref: str,
        said: Mapping[str, Json],
        *,
        path: PartPath = (),
        copies_itself: bool = False,
    ) -> StoredResult:
        made = StoredResult(data, ref=ref, path=path, parts=self.parts, copies_itself=copies_itself)
        meta = said.get("meta")
        size = meta.get("bytes") if isinstance(meta, dict) else None
        self.are_seen = True
        self.refs.add(ref)
        made.kept, made.size = self, size if isinstance(size, int) else 0
        made.family = [made]
        return made


def _reference_in(data: Json) -> str | None:
    ref = data.get("_ref") if type(data) is dict or isinstance(data, Stored) else None
    return ref if isinstance(ref, str) and ref.startswith(_SCHEME) else None


def _said_of(result: Json) -> Mapping[str, Json]:
    """Return the worker's description of the reference in its result."""
    context = result.get("context") if isinstance(result, dict) else None
    reported = context.get("result") if isinstance(context, dict) else None
    said = reported.get("reference") if isinstance(reported, dict) else None
    return said if isinstance(said, dict) else {}

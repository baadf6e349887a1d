"""Data of stored results as templates see it, and the variables that results set.

For one above the inline limit something stands, until it is read for a template.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from noetl_contract.json import Json
from noetl_contract.tools import merge_labels
from noetl_template import Stored

_SCHEME = "noetl://execution/"
_SCOPE_WORDS = ("ctx.", "iter.", "step.")


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


class StoredResult(Stored):
    """A result that is kept in the result store, as templates see it.

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
    def step(self) -> str:
        """Name of the step that the result is of."""
        return self.ref.removeprefix(_SCHEME).partition("/result/")[2].rpartition("/")[0]

    def wanted(self) -> dict[str, int]:
        """Return the results to read, with sizes: this one, or the rest of its loop's results too.

        Whoever has read one of a loop's results and asks for a second one goes through all.
        """
        left = [one for one in self.family if not one.kept.is_known(one.ref)]
        own = {self.ref: self.size}
        return own | {one.ref: one.size for one in left} if len(left) < len(self.family) else own


@dataclass(slots=True)
class StoredResults:
    """The results of one execution that were read from the result store, by their references."""

    execution_id: int = 0
    fetched: dict[str, Json] = field(default_factory=dict)
    """As templates see them, but for the self copy."""
    withheld: dict[str, str] = field(default_factory=dict)
    """Why others are not: too large, or gone."""
    refs: set[str] = field(default_factory=set)
    """Of the results seen so far: those of an origin name another execution."""
    are_seen: bool = False
    """Whether any result of the execution stands as a reference."""

    def take(self, documents: Mapping[str, Json], withheld: Mapping[str, str]) -> None:
        """Take documents of the result store, or why they can't be had."""
        self.fetched.update({ref: _data_of(document) for ref, document in documents.items()})
        self.withheld = dict(withheld)

    def is_known(self, ref: str) -> bool:
        """Return whether a result was asked for already."""
        return ref in self.fetched or ref in self.withheld

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
            made["data"] = self._stored(data, ref, said)
        return made

    def _stored(
        self, data: Json, ref: str, said: Mapping[str, Json], *, copies_itself: bool = False
    ) -> StoredResult:
        made = StoredResult(data, ref=ref, fetched=self.fetched, copies_itself=copies_itself)
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


def _data_of(document: Json) -> Json:
    """Return the data of a stored document as that of a result which travels in its event."""
    return unwrap({"context": {"result": {"context": document}}})

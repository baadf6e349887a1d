"""Shapes of tool results: as templates see them, and parts of stored ones.

A stored result is read by path, without making values of what lies beside the path.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import UNSET, Raw
from msgspec.json import Decoder, Encoder

from noetl_contract.json import Json, JsonObject, encode, parse
from noetl_contract.model import Struct, decode

type PartPath = tuple[str | int | None, ...]
"""Keys and indexes from the data of a result to a part of it.

None, as the first element only, is ``data`` as templates see it: the entry of this name, or where
there is none the whole map, which every step's result has as a copy of itself.
"""

_ENTRY_BYTES: Final = 4096
_COPIES: Final = "_copies"
_ENTRIES_BYTES: Final = 32 << 10
_KEYS: Final = 1000
_KEYS_CHARS: Final = 32 << 10


class Outline(Struct):
    """Description of a part that is too large to be read as a whole.

    Attributes:
        kind: of the value.
        bytes: size of the value as JSON.
        length: number of its entries or elements; 0 for a text.
        entries: of a map, small ones.
        keys: of a map, all of them; None if there are too many.
    """

    kind: Literal["map", "list", "text"]
    bytes: int
    length: int = 0
    entries: dict[str, Json] = {}  # noqa: RUF012 - msgspec copies it
    keys: list[str] | None = None


class Part(Struct):
    """Part of a stored result: its value, its outline, or neither if there is no such part.

    Attributes:
        depth: elements of the path that were followed; less than all at a list or a text that has
            none of the next element's kind, whose outline this is then.
        bytes: size of the value.
    """

    depth: int
    value: Json = UNSET
    outline: Outline | None = None
    bytes: int = 0

    @property
    def is_missing(self) -> bool:
        """Whether there is no such part."""
        return self.outline is None and self.value is UNSET


def merge_labels(data: Json) -> Json:
    """Return an object of objects with their fields merged to the top.

    So the result of a pipeline can be read with and without the labels of its tasks, which are
    kept; of equal fields that of the last label in alphabetical order wins. Everything else is
    returned as it is.
    """
    if not isinstance(data, dict) or not data:
        return data
    if not all(isinstance(value, dict) for value in data.values()):
        return data
    merged = dict(data)
    for label in sorted(data):
        merged.update(data[label])
    return merged


def with_bodies_once(result: JsonObject) -> JsonObject:
    """Return a tool's result in which the body of an HTTP answer stands once.

    The http tool gives a body as `body`, as `data` and, of a single answer, as text in `stdout`.
    The copies are left out, and ``_copies`` names them: the labels of a pipeline's tasks, or null
    for the data itself, and whether `stdout` is one. `with_bodies_repeated` puts them back.
    """
    data = result.get("data")
    if not isinstance(data, dict):
        return result
    if _is_answer(data):
        is_text = _is_text_of(result.get("stdout"), data["body"])
        left = {key: value for key, value in result.items() if key != "stdout" or not is_text}
        return {**left, "data": _without_copy(data), _COPIES: {"of": [None], "stdout": is_text}}
    labels = [label for label, value in data.items() if _is_answer(value)]
    if not labels:
        return result
    answers = {label: _without_copy(data[label]) for label in labels}
    return {**result, "data": {**data, **answers}, _COPIES: {"of": labels, "stdout": False}}


def with_bodies_repeated(document: bytes) -> bytes:
    """Return a stored document as its tool gave it, with all copies of bodies.

    Raises:
        ValueError: the document is not JSON.
    """
    if _COPIES.encode() not in document:
        return document
    entries = dict(_entries(Raw(document)) or {})
    if _COPIES not in entries:
        return document
    data, has_text = _data_with_copies(entries)
    if has_text:
        body = _raw((_entries(data) or {})["body"])
        entries["stdout"] = body if _first(body) == b'"' else Raw(encode(bytes(body).decode()))
    entries["data"] = data
    del entries[_COPIES]
    return _ENCODER.encode(dict(sorted(entries.items())))


def part_of(document: bytes, path: PartPath, *, most: int) -> Part:
    """Return a part of the data in a stored document.

    Args:
        document: the result of a tool, as JSON.
        path: from the data as templates see it.
        most: bytes of the value; of a larger one the outline is returned.

    Raises:
        ValueError: the document is not JSON.
    """
    node: _Node = _data_in(document)
    for depth, name in enumerate(path):
        if name is not None and _first(node) in _ENTERED_BY_INDEX and not isinstance(name, int):
            return Part(depth=depth, outline=_outline(node, most=most))
        below = _below(node, name)
        if below is None:
            return Part(depth=depth)
        node = below
    raw = _raw(node)
    size = len(memoryview(raw))
    if size > most and _first(raw) in _LARGE:
        return Part(depth=len(path), outline=_outline(node, most=most))
    return Part(depth=len(path), value=raw, bytes=size)


type _Node = Raw | Mapping[str, _Node]

_ENTRIES: Final[Decoder[dict[str, Raw]]] = Decoder(dict[str, Raw])
_ELEMENTS: Final[Decoder[list[Raw]]] = Decoder(list[Raw])
_ENCODER: Final = Encoder()


_ENTERED_BY_INDEX: Final = frozenset({b"[", b'"'})
_LARGE: Final = frozenset({b"{", b"[", b'"'})


def _below(node: _Node, name: str | int | None) -> _Node | None:
    """Return an entry or element; None if there is no such one."""
    entries = _entries(node)
    if entries is not None:
        return entries.get("data", node) if name is None else entries.get(str(name))
    elements = _elements(node)
    if elements is None or not isinstance(name, int):
        return None
    return elements[name] if -len(elements) <= name < len(elements) else None


def _data_in(document: bytes) -> _Node:
    """Return the data of a document, with merged labels."""
    whole = Raw(document)
    entries = _entries(whole) or {}
    data = _data_with_copies(entries)[0] if "data" in entries else whole
    labels = _entries(data)
    if not labels or not all(_first(value) == b"{" for value in labels.values()):
        return data
    merged = dict(labels)
    for label in sorted(labels):
        merged.update(_entries(labels[label]) or {})
    return merged


def _data_with_copies(entries: Mapping[str, _Node]) -> tuple[_Node, bool]:
    """Return a document's data with all copies of bodies, and whether its `stdout` is one."""
    data = entries["data"]
    if _COPIES not in entries:
        return data, False
    copies = parse(bytes(_raw(entries[_COPIES])))
    if copies["of"] == [None]:
        return _with_copy(data), bool(copies["stdout"])
    labels = dict(_entries(data) or {})
    found = {label: _with_copy(labels[label]) for label in copies["of"] if label in labels}
    return labels | found, False


def _with_copy(answer: _Node) -> _Node:
    entries = _entries(answer)
    return answer if not entries or "body" not in entries else {**entries, "data": entries["body"]}


def _without_copy(answer: JsonObject) -> JsonObject:
    return {key: value for key, value in answer.items() if key != "data"}


def _is_answer(data: Json) -> bool:
    return (
        isinstance(data, dict)
        and data.keys() == {"status_code", "headers", "body", "data"}
        and bool(data["body"] == data["data"])
    )


def _is_text_of(text: Json, body: Json) -> bool:
    if not isinstance(text, str) or isinstance(body, str):
        return bool(text == body)
    try:
        return bool(parse(text.encode()) == body)
    except ValueError:
        return False


def _raw(node: _Node) -> Raw:
    return node if isinstance(node, Raw) else Raw(_ENCODER.encode(node))


def _elements(node: _Node) -> list[Raw] | None:
    """Return the elements of a list; None for every other value."""
    if not isinstance(node, Raw) or _first(node) != b"[":
        return None
    return decode(_ELEMENTS, node)


def _entries(node: _Node) -> Mapping[str, _Node] | None:
    """Return the entries of a map; None for every other value."""
    if not isinstance(node, Raw):
        return node
    return decode(_ENTRIES, node) if _first(node) == b"{" else None


def _first(node: _Node) -> bytes:
    """Return the first byte of a value, by which its kind is known."""
    if not isinstance(node, Raw):
        return b"{"
    return bytes(memoryview(node)[:64]).lstrip()[:1]


def _outline(node: _Node, *, most: int) -> Outline:
    size = len(memoryview(_raw(node)))
    entries = _entries(node)
    if entries is None:
        elements = _elements(node)
        if elements is None:
            return Outline(kind="text", bytes=size)
        return Outline(kind="list", bytes=size, length=len(elements))
    small: dict[str, Json] = {}
    left = min(most, _ENTRIES_BYTES)
    for key, value in entries.items():
        taken = len(memoryview(_raw(value))) + len(key)
        if taken <= min(left, _ENTRY_BYTES):
            small[key] = value
            left -= taken
    is_listed = len(entries) <= _KEYS and sum(map(len, entries)) <= _KEYS_CHARS
    keys = list(entries) if is_listed else None
    return Outline(kind="map", bytes=size, length=len(entries), entries=small, keys=keys)

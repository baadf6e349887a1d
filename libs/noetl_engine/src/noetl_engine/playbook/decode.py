"""Typed reading of nodes, with the reference's messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.model import Json, Problem
from noetl_engine.playbook.yaml_dialect import ListNode, MapNode, Node, Scalar, at, to_json

_INT32: Final = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Reader:
    """A mapping being read, with its path in the document.

    Scalars are taken as their literal text where text is expected, as the reference does outside
    of ``tool`` and ``next``.
    """

    node: MapNode
    path: str

    def path_of(self, key: str) -> str:
        """The path of one of the mapping's values."""
        return f"{self.path}.{key}" if self.path else key

    def fail(
        self, message: str, *, node: Node | None = None, key: str | None = None
    ) -> DecodeError:
        """An error at this mapping, or at one of its values."""
        place = self.node if node is None else node
        path = self.path if key is None else self.path_of(key)
        return at(message, Problem(message="", line=place.line, column=place.column, path=path))

    def present(self, key: str) -> Node | None:
        """The value of a key, nothing for an absent or null one."""
        node = self.node.entries.get(key)
        return None if node is None or is_null(node) else node

    def required(self, key: str) -> Node:
        """The value of a key that must be there."""
        node = self.node.entries.get(key)
        if node is None:
            raise self.fail(f"missing field `{key}`")
        return node

    def text(self, key: str) -> str | None:
        """A scalar as text, nothing when absent or null."""
        node = self.present(key)
        return None if node is None else self._text(key, node)

    def required_text(self, key: str) -> str:
        """A scalar as text."""
        return self._text(key, self.required(key))

    def _text(self, key: str, node: Node) -> str:
        if isinstance(node, Scalar):
            return node.text
        raise self.fail(f"invalid type: {kind_of(node)}, expected a string", node=node, key=key)

    def json(self, key: str) -> Json:
        """Any value; null when absent."""
        node = self.node.entries.get(key)
        return None if node is None else to_json(node)

    def all(self) -> dict[str, Json]:
        """The whole mapping as JSON."""
        return {key: to_json(node) for key, node in self.node.entries.items()}

    def texts(self) -> dict[str, str]:
        """The whole mapping, whose values must be scalars, as text."""
        return {key: self.required_text(key) for key in self.node.entries}

    def mapping(self, key: str) -> "Reader | None":
        """A mapping, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        if isinstance(node, MapNode):
            return Reader(node, self.path_of(key))
        raise self.fail(f"invalid type: {described(node)}, expected a map", node=node, key=key)

    def items(self, key: str) -> list[Node]:
        """A sequence's items, none when absent or null."""
        node = self.present(key)
        if node is None:
            return []
        if isinstance(node, ListNode):
            return node.items
        raise self.fail(f"invalid type: {described(node)}, expected a sequence", node=node, key=key)

    def readers(self, key: str, expected: str) -> "list[Reader]":
        """The mappings in a sequence."""
        readers = []
        for index, item in enumerate(self.items(key)):
            path = f"{self.path_of(key)}[{index}]"
            if not isinstance(item, MapNode):
                raise at(
                    f"invalid type: {described(item)}, expected struct {expected}",
                    Problem(message="", line=item.line, column=item.column, path=path),
                )
            readers.append(Reader(item, path))
        return readers

    def int32(self, key: str) -> int | None:
        """An integer, nothing when absent or null."""
        return self._number(key, "i32", lambda value: type(value) is int and value in _INT32)

    def float64(self, key: str) -> float | None:
        """A number, nothing when absent or null."""
        return self._number(key, "f64", lambda value: type(value) in {int, float})

    def boolean(self, key: str) -> bool | None:
        """A boolean, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        raise self.fail(f"invalid type: {described(node)}, expected a boolean", node=node, key=key)

    def word(self, key: str, allowed: tuple[str, ...]) -> str | None:
        """One of a few words, nothing when absent or null."""
        text = self.text(key)
        if text is None or text in allowed:
            return text
        words = ", ".join(f"`{word}`" for word in allowed)
        message = f"unknown variant `{text}`, expected one of {words}"
        raise self.fail(message, node=self.node.entries[key], key=key)

    def _number[T](self, key: str, wanted: str, fits: Callable[[Json], bool]) -> T | None:
        node = self.present(key)
        if node is None:
            return None
        if isinstance(node, Scalar) and fits(node.value):
            return node.value  # type: ignore[return-value]  # that is what fits() tested
        raise self.fail(f"invalid type: {described(node)}, expected {wanted}", node=node, key=key)


def is_null(node: Node) -> bool:
    """Whether a node is the null scalar."""
    return isinstance(node, Scalar) and node.value is None


def kind_of(node: Node) -> str:
    """What messages call the kind of a node."""
    if isinstance(node, ListNode):
        return "sequence"
    return "map" if isinstance(node, MapNode) else "string"


def described(node: Node) -> str:
    """A node's kind, with its value when it has one."""
    if not isinstance(node, Scalar):
        return kind_of(node)
    match node.value:
        case None:
            return "unit value"
        case bool():
            return f"boolean `{node.text.lower()}`"
        case int():
            return f"integer `{node.value}`"
        case float():
            return f"floating point `{node.value}`"
        case _:
            return f'string "{_cut(node.text)}"'


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"

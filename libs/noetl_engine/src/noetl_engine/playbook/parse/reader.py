"""Typed reading of nodes. A value of the wrong shape is reported and reading goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noetl_engine.playbook.levels import BOOLEAN, LIST, OBJECT, TEXT, Level, Schema
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.problem import Code, Problem, problem_at
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar, is_null, to_json

_INT32: Final = range(-(2**31), 2**31)

type Report = Callable[[Problem], None]


@dataclass(frozen=True, slots=True)
class Reader:
    """A mapping being read, with its path in the document.

    Scalars are taken as their literal text where text is expected, as the original server does
    outside of ``tool`` and ``next``. What is refused is passed to ``report`` and counts as absent.
    """

    node: MapNode
    path: str
    report: Report

    def path_of(self, key: str) -> str:
        """Return the path of one of the mapping's values."""
        return f"{self.path}.{key}" if self.path else key

    def refuse(self, text: str, *, node: Node | None = None, key: str | None = None) -> None:
        """Report a problem of this mapping, or of one of its values."""
        place = self.node if node is None else node
        path = self.path if key is None else self.path_of(key)
        self.report(problem_at(text, line=place.line, column=place.column, path=path))

    def refuse_type(self, node: Node, expected: str, key: str) -> None:
        """Report a value that has another type than expected."""
        self.refuse(f"invalid type: {described(node)}, expected {expected}", node=node, key=key)

    def warn(self, key: str, text: str) -> None:
        """Report a value that is accepted and ignored."""
        node = self.node.entries[key]
        self.report(problem_of(node, text, self.path_of(key), code=Code.IGNORED))

    def present(self, key: str) -> Node | None:
        """Return the value of a key, nothing for an absent or null one."""
        node = self.node.entries.get(key)
        return None if node is None or is_null(node) else node

    def required(self, key: str) -> Node | None:
        """Return the value of a key that must be there."""
        node = self.node.entries.get(key)
        if node is None:
            self.refuse(f"missing field `{key}`")
        return node

    def text(self, key: str) -> str | None:
        """Return a scalar as text, nothing when absent or null."""
        node = self.present(key)
        return None if node is None else self._text(key, node)

    def required_text(self, key: str, *, instead: str) -> str:
        """Return a scalar as text, a word instead when there is none."""
        node = self.required(key)
        text = None if node is None else self._text(key, node)
        return instead if text is None else text

    def _text(self, key: str, node: Node) -> str | None:
        if isinstance(node, Scalar):
            return node.text
        self.refuse(f"invalid type: {kind_of(node)}, expected a string", node=node, key=key)
        return None

    def json(self, key: str) -> Value:
        """Return any value; null when absent."""
        node = self.node.entries.get(key)
        return None if node is None else to_json(node)

    def all(self) -> dict[str, Value]:
        """Return the whole mapping as JSON."""
        return {key: to_json(node) for key, node in self.node.entries.items()}

    def mapping(self, key: str) -> "Reader | None":
        """Return a mapping, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        if isinstance(node, MapNode):
            return Reader(node, self.path_of(key), self.report)
        self.refuse_type(node, "a map", key)
        return None

    def items(self, key: str) -> list[Node] | None:
        """Return a sequence's items, none when absent or null, nothing when it is no sequence."""
        node = self.present(key)
        if node is None:
            return []
        if isinstance(node, ListNode):
            return node.items
        self.refuse_type(node, "a sequence", key)
        return None

    def readers(self, key: str, expected: str) -> "list[Reader] | None":
        """Return the mappings of a sequence, nothing when it is no sequence."""
        items = self.items(key)
        if items is None:
            return None
        readers = []
        for index, item in enumerate(items):
            place = f"{key}[{index}]"
            if isinstance(item, MapNode):
                readers.append(Reader(item, self.path_of(place), self.report))
            else:
                self.refuse_type(item, f"struct {expected}", place)
        return readers

    def check(self, level: Level) -> None:
        """Report the optional values that have another shape than the language describes."""
        for name, key in level.keys.items():
            if not key.is_required:
                self._check(name, key.schema)

    def _check(self, key: str, schema: Schema) -> None:
        words = schema.get("enum")
        if isinstance(words, list):
            self.word(key, tuple(str(word) for word in words))
        elif schema == BOOLEAN:
            self.boolean(key)
        elif schema == LIST:
            self.items(key)
        elif schema == OBJECT:
            named = self.mapping(key)
            if named is not None:
                for name in named.node.entries:
                    named.required_text(name, instead="")
        elif schema == TEXT:
            self.text(key)

    def int32(self, key: str) -> int | None:
        """Return an integer, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int) and not isinstance(value, bool) and value in _INT32:
            return value
        self.refuse_type(node, "i32", key)
        return None

    def float64(self, key: str) -> float | None:
        """Return a number, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        self.refuse_type(node, "f64", key)
        return None

    def boolean(self, key: str) -> bool | None:
        """Return a boolean, nothing when absent or null."""
        node = self.present(key)
        if node is None:
            return None
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.refuse_type(node, "a boolean", key)
        return None

    def word(self, key: str, allowed: tuple[str, ...]) -> str | None:
        """Return one of a few words, nothing when absent or null."""
        text = self.text(key)
        if text is None or text in allowed:
            return text
        words = ", ".join(f"`{word}`" for word in allowed)
        message = f"unknown variant `{text}`, expected one of {words}"
        self.refuse(message, node=self.node.entries[key], key=key)
        return None


def problem_of(
    node: Node, text: str, path: str, *, code: Code = Code.RULE, word: str | None = None
) -> Problem:
    """Return a problem of a value, whose message has no place."""
    return Problem(code=code, text=text, line=node.line, column=node.column, path=path, word=word)


def kind_of(node: Node) -> str:
    """Return the word of messages for the kind of a node."""
    if isinstance(node, ListNode):
        return "sequence"
    return "map" if isinstance(node, MapNode) else "string"


def described(node: Node) -> str:
    """Return a node's kind, with its value when it has one."""
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

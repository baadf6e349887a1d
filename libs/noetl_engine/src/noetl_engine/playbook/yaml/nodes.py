"""Nodes of a document: values that know their place."""

from dataclasses import dataclass, field

from noetl_engine.playbook.model import Value


@dataclass(slots=True, kw_only=True)
class Node:
    """One value of the document.

    Attributes:
        line: One-based.
        column: One-based.
        nodes: How many values it contains with aliases expanded, itself included.
        chars: How many characters its scalars have with aliases expanded.
    """

    line: int
    column: int
    nodes: int = 1
    chars: int = 0


@dataclass(slots=True, kw_only=True)
class Scalar(Node):
    """Text, with the value it stands for.

    Attributes:
        style: How it is written: ``|`` or ``>`` for blocks, a quote, empty for plain text.
    """

    text: str
    value: Value
    style: str = ""


@dataclass(slots=True, kw_only=True)
class ListNode(Node):
    """A sequence."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class MapNode(Node):
    """A mapping with unique keys, in document order.

    Attributes:
        places: One-based line and column of each key.
    """

    entries: dict[str, Node] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


def is_null(node: Node) -> bool:
    """Return whether a node is the null scalar."""
    return isinstance(node, Scalar) and node.value is None


def is_absent(node: Node | None) -> bool:
    """Return whether a value is missing or null."""
    return node is None or is_null(node)


def to_json(node: Node) -> Value:
    """Return the node as JSON. Repeats by an alias are shared, not copied."""
    return _to_json(node, {})


def _to_json(node: Node, done: dict[int, Value]) -> Value:
    if isinstance(node, Scalar):
        return node.value
    known = done.get(id(node))
    if known is not None:
        return known
    value: Value
    if isinstance(node, ListNode):
        value = [_to_json(item, done) for item in node.items]
    elif isinstance(node, MapNode):
        value = {key: _to_json(entry, done) for key, entry in node.entries.items()}
    else:
        value = None
    done[id(node)] = value
    return value

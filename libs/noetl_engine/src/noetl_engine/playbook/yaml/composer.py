"""YAML text to a tree of nodes that know their place, within limits.

PyYAML's parser gives the events; everything above them is ours, because a stock loader reads
scalars by YAML 1.1, expands merge keys, accepts duplicate keys and lets aliases multiply.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.problem import Code, Problem, problem_at
from noetl_engine.playbook.yaml.nodes import ListNode, MapNode, Node, Scalar
from noetl_engine.playbook.yaml.scalars import ScalarError, plain_value, tagged_value

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlLimits:
    """Bounds of one document.

    Attributes:
        max_chars: Length of the text.
        max_depth: Nesting of lists and maps.
        max_nodes: Values in the document, aliases counted as what they stand for.
        max_expanded_chars: Characters of all scalars, aliases counted likewise.
    """

    max_chars: int = 8 * 1024 * 1024
    max_depth: int = 100
    max_nodes: int = 500_000
    max_expanded_chars: int = 64 * 1024 * 1024


def compose(
    text: str, *, limits: YamlLimits | None = None, skip: Callable[[Problem], None] | None = None
) -> Node:
    """Read one document.

    Args:
        text: The document.
        limits: Its bounds.
        skip: Takes what is wrong with single keys and values; reading goes on behind them.
            Without it the first such thing ends the reading.

    Raises:
        DecodeError: Invalid YAML, a duplicate key, a value without a JSON form, several
            documents, or a limit.
    """
    limits = limits or YamlLimits()
    if len(text) > limits.max_chars:
        raise _error(f"document is longer than {limits.max_chars} characters", None)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _error("document contains characters that are not Unicode text", None) from None
    try:
        return _Composer(limits, yaml.parse(text, Loader=_Loader), skip).document()
    except yaml.MarkedYAMLError as error:
        raise _error(_parser_message(error), error.problem_mark) from error
    except yaml.YAMLError as error:
        raise _error(str(error).partition("\n")[0], None) from error


class _Composer:
    """Builds nodes from parser events."""

    def __init__(
        self,
        limits: YamlLimits,
        events: Iterator[Any],
        skip: Callable[[Problem], None] | None = None,
    ) -> None:
        self._limits = limits
        self._events = events
        self._skip = skip
        self._anchors: dict[str, Node] = {}
        self._read = 0

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Scalar(line=1, column=1, text="", value=None)
        root = self._node(next(self._events), path="", depth=0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _error(
                "deserializing from YAML containing more than one document is not supported", None
            )
        return root

    def _node(self, event: Any, *, path: str, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        self._read += 1
        if self._read > self._limits.max_nodes:
            raise _error(f"document has more than {self._limits.max_nodes} values", None)
        if depth > self._limits.max_depth:
            raise _error(
                f"document is nested deeper than {self._limits.max_depth} levels",
                event.start_mark,
                path,
            )
        node = self._read_node(event, path=path, depth=depth)
        self._check_expansion(node, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _read_node(self, event: Any, *, path: str, depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar_value(event, path)
            text = event.value
            return Scalar(
                line=line,
                column=column,
                chars=len(text),
                text=text,
                value=value,
                style=event.style or "",
            )
        if event.tag is not None and not event.tag.startswith("tag:yaml.org,2002:"):
            message = "invalid type: enum, expected any valid JSON value"
            self._refuse(_error(message, event.start_mark, path))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(line, column, path=path, depth=depth)
        return self._map(event.start_mark, path=path, depth=depth)

    def _aliased(self, event: Any) -> Node:
        # An anchor counts from the end of its node, so that nothing contains itself.
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _error("unknown anchor", event.start_mark)
        return node

    def _scalar_value(self, event: Any, path: str) -> Value:
        try:
            if event.tag is not None and event.tag != "!":
                return tagged_value(event.tag, event.value)
            if not event.style and event.tag is None:
                return plain_value(event.value)
        except ScalarError as error:
            self._refuse(_error(str(error), event.start_mark, path), cause=error)
        text: str = event.value
        return text

    def _list(self, line: int, column: int, *, path: str, depth: int) -> ListNode:
        node = ListNode(line=line, column=column)
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event, path=f"{path}[{len(node.items)}]", depth=depth + 1)
            node.items.append(item)
            node.nodes += item.nodes
            node.chars += item.chars
            self._check_expansion(node, path)
        return node

    def _map(self, mark: Any, *, path: str, depth: int) -> MapNode:
        node = MapNode(line=mark.line + 1, column=mark.column + 1)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path=path, depth=depth)
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if key in node.entries:
                self._refuse(_error(f'duplicate entry with key "{key}"', mark, path), place=place)
            entry = self._node(
                next(self._events), path=f"{path}.{key}" if path else key, depth=depth + 1
            )
            node.entries[key] = entry
            node.places[key] = place
            node.nodes += 1 + entry.nodes
            node.chars += len(key) + entry.chars
            self._check_expansion(node, path)
        return node

    def _key(self, event: Any, *, path: str, depth: int) -> str:
        node = self._node(event, path=path, depth=depth + 1)
        if isinstance(node, Scalar):
            return node.text
        kind = "map" if isinstance(node, MapNode) else "sequence"
        message = f"invalid type: {kind}, expected a string key"
        self._refuse(_error(message, event.start_mark, path))
        return ""

    def _refuse(
        self,
        error: DecodeError,
        *,
        place: tuple[int, int] | None = None,
        cause: Exception | None = None,
    ) -> None:
        """Raise an error, or report it at the given place where errors are skipped."""
        if self._skip is None:
            raise error from cause
        problem = error.problem
        if place is not None:
            problem = replace(problem, line=place[0], column=place[1])
        self._skip(problem)

    def _check_expansion(self, node: Node, path: str) -> None:
        if node.nodes > self._limits.max_nodes or node.chars > self._limits.max_expanded_chars:
            raise _error_at("repetition limit exceeded", node.line, node.column, path)


def _error(message: str, mark: Any, path: str = "") -> DecodeError:
    line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
    return _error_at(message, line, column, path)


def _error_at(message: str, line: int | None, column: int | None, path: str) -> DecodeError:
    return DecodeError(problem_at(message, line=line, column=column, path=path, code=Code.YAML))


def _parser_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "invalid YAML"
    return f"{problem} {error.context}" if error.context else problem

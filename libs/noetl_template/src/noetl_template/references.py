"""Inspect a template without rendering it: its syntax and the names it looks up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import jinja2
from jinja2 import nodes

from noetl_template.compiled import Compiler, failed
from noetl_template.environment.environment import TemplateEnvironment
from noetl_template.environment.functions import FUNCTIONS
from noetl_template.errors import TemplateError
from noetl_template.limits import Limits
from noetl_template.values import SERVER, WORKER, Dialect

_TOLERANT_FILTERS: Final = frozenset({"default", "d"})
_TOLERANT_TESTS: Final = frozenset({"defined", "undefined", "none", "true", "false"})
_LONG_CHARS: Final = 50_000
_OWN_NAMES: Final = frozenset({"loop", "self", "caller", "varargs", "kwargs", *FUNCTIONS})


@dataclass(frozen=True, slots=True)
class Reference:
    """A look-up of a value from the scope.

    Attributes:
        path: The name, then the constant keys behind it: ``("a", "b")`` for ``a.b[0]``.
        line: One-based line in the template.
        is_guarded: Whether the template is ready for the value to be missing, because it gives
            a default for it or tests it.
    """

    path: tuple[str, ...]
    line: int
    is_guarded: bool = False


class _Inspector:
    """Compiles and reads templates of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._compiler = Compiler(dialect, Limits(), max_entries=256, max_chars=1 << 20)
        self._environment = TemplateEnvironment(dialect, yields_values=False)

    def references(self, text: str) -> tuple[Reference, ...]:
        tree = self._parsed(text)
        self._refuse_unknown(tree, text)
        found = tuple(_read(tree, guarded=False))
        guarded = {reference.path for reference in found if reference.is_guarded}
        return tuple(
            Reference(reference.path, reference.line, is_guarded=_starts_with(reference, guarded))
            for reference in _outer(tree, found)
        )

    def look_ups(self, text: str) -> frozenset[tuple[str, ...]]:
        try:
            tree = self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise failed(text, error) from error
        return frozenset(
            reference.path for reference in _outer(tree, tuple(_read(tree, guarded=False)))
        )

    def _parsed(self, text: str) -> nodes.Template:
        if len(text) <= _LONG_CHARS:
            self._compiler.compile(text)
            return self._environment.parse(text)
        # Code for very long texts takes seconds; their syntax is all that is checked.
        try:
            return self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise failed(text, error) from error

    def _refuse_unknown(self, tree: nodes.Template, text: str) -> None:
        """Refuse unknown filters, tests and functions, which rendering meets only on its way."""
        known = {nodes.Filter: self._environment.filters, nodes.Test: self._environment.tests}
        for node in tree.find_all((nodes.Filter, nodes.Test)):
            if node.name not in known[type(node)]:
                word = "filter" if isinstance(node, nodes.Filter) else "test"
                problem = f"unknown {word}: {word} {node.name} is unknown"
                raise TemplateError(problem, template=text, line=node.lineno)
        own = _own_names(tree)
        for call in tree.find_all(nodes.Call):
            called = call.node
            if isinstance(called, nodes.Name) and called.name not in own:
                problem = f"unknown function: {called.name} is unknown"
                raise TemplateError(problem, template=text, line=call.lineno)


_SERVER: Final = _Inspector(SERVER)
_WORKER: Final = _Inspector(WORKER)


def references(text: str, *, by_worker: bool = False) -> tuple[Reference, ...]:
    """Return the look-ups of a template, in order.

    Args:
        text: The template.
        by_worker: Whether the worker's rules apply instead of the server's.

    Raises:
        TemplateError: The template doesn't compile.
    """
    return (_WORKER if by_worker else _SERVER).references(text)


def look_ups(text: str) -> frozenset[tuple[str, ...]]:
    """Return the paths that a template looks up, which both sides read alike.

    It is parsed only, so it may be wrong in other ways.

    Raises:
        TemplateError: Its syntax is wrong.
    """
    return _SERVER.look_ups(text)


def _outer(tree: nodes.Template, found: tuple[Reference, ...]) -> Iterator[Reference]:
    """Yield the look-ups of names that the template doesn't bring itself."""
    own = _own_names(tree)
    return (reference for reference in found if reference.path[0] not in own)


def _own_names(tree: nodes.Template) -> frozenset[str]:
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx in {"store", "param"}}
    return _OWN_NAMES | stored | {macro.name for macro in tree.find_all(nodes.Macro)}


def _starts_with(reference: Reference, guarded: set[tuple[str, ...]]) -> bool:
    path = reference.path
    return any(path[: length + 1] in guarded for length in range(len(path)))


def _read(node: nodes.Node, *, guarded: bool) -> Iterator[Reference]:
    path = _path_of(node)
    if path is not None:
        yield Reference(path, node.lineno, is_guarded=guarded)
        return
    ready = _children_ready_for_nothing(node)
    for child in node.iter_child_nodes():
        yield from _read(child, guarded=child in ready)


def _children_ready_for_nothing(node: nodes.Node) -> list[nodes.Node]:
    """Return the children whose value may be missing without surprise."""
    match node:
        case nodes.Filter(name=name, node=nodes.Expr() as value) if name in _TOLERANT_FILTERS:
            return [value]
        case nodes.Test(name=name, node=value) if name in _TOLERANT_TESTS:
            return [value]
        case nodes.Or(left=value) | nodes.And(left=nodes.Name() as value) | nodes.Not(node=value):
            return [value]
        case nodes.CondExpr(test=value) | nodes.If(test=value):
            return [value]
        case _:
            return []


def _path_of(node: nodes.Node) -> tuple[str, ...] | None:
    match node:
        case nodes.Name(name=name, ctx="load"):
            return (name,)
        case nodes.Getattr(node=owner, attr=key):
            path = _path_of(owner)
        case nodes.Getitem(node=owner, arg=nodes.Const(value=str(key))):
            path = _path_of(owner)
        case nodes.Getitem(node=owner, arg=nodes.Const()):
            return _path_of(owner)
        case _:
            return None
    return None if path is None else (*path, key)

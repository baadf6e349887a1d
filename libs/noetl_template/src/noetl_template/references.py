"""Inspect a template without rendering it: its syntax and the names it looks up."""

from collections.abc import Iterator
from typing import Final

import jinja2
from jinja2 import nodes

from noetl_template.compiled import Compiler, failed
from noetl_template.environment.environment import TemplateEnvironment
from noetl_template.environment.functions import FUNCTIONS
from noetl_template.errors import TemplateError
from noetl_template.limits import Limits
from noetl_template.syntax.look_ups import Reference, look_ups_in, names_made_in, with_guards
from noetl_template.values import SERVER, WORKER, Dialect

_LONG_CHARS: Final = 50_000
_OWN_NAMES: Final = frozenset({"loop", "self", "caller", "varargs", "kwargs", *FUNCTIONS})


class _Inspector:
    """Compiles and reads templates of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._compiler = Compiler(dialect, Limits(), max_entries=256, max_chars=1 << 20)
        self._environment = TemplateEnvironment(dialect, yields_values=False)

    def references(self, text: str) -> tuple[Reference, ...]:
        tree = self._parsed(text)
        self._refuse_unknown(tree, text)
        return tuple(_outer(tree, tuple(with_guards(look_ups_in(tree)))))

    def look_ups(self, text: str) -> frozenset[tuple[str, ...]]:
        try:
            tree = self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise failed(text, error) from error
        return frozenset(reference.path for reference in _outer(tree, look_ups_in(tree)))

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
    return _OWN_NAMES | names_made_in(tree)

"""Inspection of a template without rendering it: its syntax, and the names that it looks up."""

from collections.abc import Iterator
from typing import Final

import jinja2
from jinja2 import nodes

from noetl_template.compiled import Compiler, failed
from noetl_template.environment.environment import FUNCTIONS, TemplateEnvironment
from noetl_template.errors import TemplateError
from noetl_template.limits import Limits
from noetl_template.syntax.lookups import Reference, lookups_in, names_made_in, with_guards
from noetl_template.values import SERVER, WORKER, Dialect

_LONG_CHARS: Final = 50_000
_OWN_NAMES: Final = frozenset({"loop", "self", "caller", "varargs", "kwargs", *FUNCTIONS})


class _Inspector:
    """Compiles and parses templates of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._compiler = Compiler(dialect, Limits(), max_entries=256, max_chars=1 << 20)
        self._environment = TemplateEnvironment(dialect, yields_values=False)

    def references(self, text: str) -> tuple[Reference, ...]:
        tree = self._parsed(text)
        self._refuse_unknown(tree, text)
        return tuple(_outer(tree, tuple(with_guards(lookups_in(tree)))))

    def lookups(self, text: str) -> frozenset[tuple[str, ...]]:
        try:
            tree = self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise failed(text, error) from error
        return frozenset(reference.path for reference in _outer(tree, lookups_in(tree)))

    def _parsed(self, text: str) -> nodes.Template:
        if len(text) <= _LONG_CHARS:
            self._compiler.compile(text)
            return self._environment.parse(text)
        # Compiling very long texts takes seconds, so only their syntax is checked.
        try:
            return self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise failed(text, error) from error

    def _refuse_unknown(self, tree: nodes.Template, text: str) -> None:
        """Reject unknown filters, tests and functions, even in branches that are not executed."""
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


def lookups(text: str) -> frozenset[tuple[str, ...]]:
    """Return the paths that a template looks up, which are the same in both dialects.

    The template is parsed but not compiled, so it may have other errors.

    Raises:
        TemplateError: The syntax is wrong.
    """
    return _SERVER.lookups(text)


def _outer(tree: nodes.Template, found: tuple[Reference, ...]) -> Iterator[Reference]:
    """Yield the look-ups of names that the template doesn't define itself."""
    own = _own_names(tree)
    return (reference for reference in found if reference.path[0] not in own)


def _own_names(tree: nodes.Template) -> frozenset[str]:
    return _OWN_NAMES | names_made_in(tree)

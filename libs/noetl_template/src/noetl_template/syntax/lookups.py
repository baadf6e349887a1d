"""Look-ups of a parsed template in the scope."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jinja2 import nodes

_TOLERANT_FILTERS: Final = frozenset({"default", "d"})
_TOLERANT_TESTS: Final = frozenset({"defined", "undefined", "none", "true", "false"})


@dataclass(frozen=True, slots=True)
class Reference:
    """A look-up of a value from the scope.

    Attributes:
        path: The name and the constant keys after it: ``("a", "b")`` for ``a.b[0]``.
        line: One-based line in the template.
        is_guarded: Whether the value may be missing, because the template has a default for it or
            tests it.
    """

    path: tuple[str, ...]
    line: int
    is_guarded: bool = False


def lookups_in(tree: nodes.Template) -> tuple[Reference, ...]:
    """Return the look-ups of a template in order, including names that it defines itself."""
    return tuple(_read(tree, guarded=False))


def with_guards(found: tuple[Reference, ...]) -> Iterator[Reference]:
    """Yield the look-ups; one is also guarded if the template guards a part of its path."""
    guarded = {reference.path for reference in found if reference.is_guarded}
    return (
        Reference(reference.path, reference.line, is_guarded=_starts_with(reference, guarded))
        for reference in found
    )


def names_made_in(tree: nodes.Template) -> frozenset[str]:
    """Return the names that a template defines itself."""
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx in {"store", "param"}}
    return frozenset(stored | {macro.name for macro in tree.find_all(nodes.Macro)})


def _starts_with(reference: Reference, guarded: set[tuple[str, ...]]) -> bool:
    path = reference.path
    return any(path[: length + 1] in guarded for length in range(len(path)))


def _read(node: nodes.Node, *, guarded: bool) -> Iterator[Reference]:
    path = _path_of(node)
    if path is not None:
        yield Reference(path, node.lineno, is_guarded=guarded)
        return
    guarded_children = _guarded_children(node)
    for child in node.iter_child_nodes():
        yield from _read(child, guarded=child in guarded_children)


def _guarded_children(node: nodes.Node) -> list[nodes.Node]:
    """Return the children of a node whose values may be missing."""
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

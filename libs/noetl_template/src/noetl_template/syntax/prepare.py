"""Rewriting of Jinja's syntax tree, so that loops and look-ups call the render context."""

from dataclasses import dataclass
from typing import Final

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from noetl_template.errors import EvaluationError
from noetl_template.syntax.codegen import is_data
from noetl_template.values import Value

# Names of the private filters that the rewritten tree calls.
ITERATE: Final = " iterate"
LOOKUP: Final = " look up"
PAY: Final = " pay"
OWN: Final = " own"

# Number of characters of text, or of operations, in the body of a loop for one unit of work.
_TEXT_PER_UNIT: Final = 64
_OPERATIONS_PER_UNIT: Final = 16
# Names of a macro's undeclared arguments.
_ARGUMENTS: Final = frozenset({"varargs", "kwargs"})

_FORBIDDEN: Final[dict[type[nodes.Node], str]] = {
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.Extends: "extends",
    nodes.FromImport: "from",
    nodes.Import: "import",
    nodes.Include: "include",
}


def prepare(tree: nodes.Template) -> nodes.Template:
    """Rewrite a parsed template for the code generator.

    Loops are charged to the budget, ``self`` becomes an ordinary name, and statements that would
    load other templates or change escaping are rejected.

    Raises:
        EvaluationError: The template contains such a statement.
    """
    forbidden = next(tree.find_all(tuple(_FORBIDDEN)), None)
    if forbidden is not None:
        word = _FORBIDDEN[type(forbidden)]
        raise EvaluationError(f"statement '{word}' is not available", line=forbidden.lineno)
    loop_names = {
        name.name
        for loop in tree.find_all(nodes.For)
        for name in [loop.target, *loop.target.find_all(nodes.Name)]
        if isinstance(name, nodes.Name)
    }
    rewritten: nodes.Template = _Rewriter(loop_names).visit(tree)
    return rewritten


@dataclass(frozen=True, slots=True)
class Single:
    """The only expression of a template: its surrounding whitespace, and whether it is data."""

    prefix: str
    suffix: str
    is_data: bool


def single_expression(tree: nodes.Template) -> Single | None:
    """Return the only expression of a template, or None if there is anything else in it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    around = ["", ""]
    expression: nodes.Expr | None = None
    for node in tree.body[0].nodes:
        if isinstance(node, nodes.TemplateData):
            if node.data.strip():
                return None
            around[expression is not None] += node.data
        elif expression is not None:
            return None
        else:
            expression = node
    return None if expression is None else Single(around[0], around[1], is_data(expression))


class _Rewriter(NodeTransformer):
    def __init__(self, loop_names: set[str]) -> None:
        self.loop_names = loop_names

    def visit_For(self, node: nodes.For, *args: Value, **kwargs: Value) -> nodes.Node:  # noqa: N802 - named after the node
        weight = _weight(node)
        self.generic_visit(node, *args, **kwargs)
        node.iter = _private_filter(node.iter, ITERATE, nodes.Const(weight))
        if node.recursive and weight:
            node.body.insert(0, _payment(weight, node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro, *args: Value, **kwargs: Value) -> nodes.Node:  # noqa: N802 - named after the node
        return self._paid(node, *args, **kwargs)

    def visit_CallBlock(  # noqa: N802 - named after the node
        self, node: nodes.CallBlock, *args: Value, **kwargs: Value
    ) -> nodes.Node:
        return self._paid(node, *args, **kwargs)

    def _paid(
        self, node: nodes.Macro | nodes.CallBlock, *args: Value, **kwargs: Value
    ) -> nodes.Node:
        weight = _weight(node)
        self.generic_visit(node, *args, **kwargs)
        if weight:
            node.body.insert(0, _payment(weight, node.lineno))
        return node

    def visit_Name(self, node: nodes.Name, *_args: Value, **_kwargs: Value) -> nodes.Node:  # noqa: N802 - named after the node
        if node.name == "self" and node.ctx == "load":
            return _private_filter(nodes.Const("self"), LOOKUP)
        if node.name in _ARGUMENTS and node.ctx == "load":
            return _private_filter(node, OWN)
        return node

    def visit_Getattr(  # noqa: N802 - named after the node
        self, node: nodes.Getattr, *args: Value, **kwargs: Value
    ) -> nodes.Node:
        if node.attr == "result":
            _mark(node, self._comes_from_a_step(node.node))
        return self.generic_visit(node, *args, **kwargs)

    def visit_Getitem(  # noqa: N802 - named after the node
        self, node: nodes.Getitem, *args: Value, **kwargs: Value
    ) -> nodes.Node:
        if isinstance(node.arg, nodes.Const) and node.arg.value == "result":
            _mark(node, self._comes_from_a_step(node.node))
        return self.generic_visit(node, *args, **kwargs)

    def _comes_from_a_step(self, node: nodes.Expr) -> bool:
        """Return whether the path from a name of the scope to a value has only map keys.

        The reference server wraps maps below the data of a step, except maps inside lists.
        """
        match node:
            case nodes.Name(name=name):
                return name not in self.loop_names
            case nodes.Getattr(node=owner):
                return self._comes_from_a_step(owner)
            case nodes.Getitem(node=owner, arg=nodes.Const(value=str())):
                return self._comes_from_a_step(owner)
            case nodes.Filter(node=nodes.Expr() as owner, name="default" | "d"):
                return self._comes_from_a_step(owner)
            case _:
                return False


def _weight(node: nodes.Node) -> int:
    """Return the units of work for one execution of a body, without the calls in it."""
    text = operations = 0
    for part in node.find_all(nodes.Node):
        operations += 1
        if isinstance(part, nodes.TemplateData):
            text += len(part.data)
    return text // _TEXT_PER_UNIT + operations // _OPERATIONS_PER_UNIT


def _payment(weight: int, line: int) -> nodes.ExprStmt:
    paid = _private_filter(nodes.Const(weight, lineno=line), PAY)
    return nodes.ExprStmt(paid, lineno=line)


def _mark(node: nodes.Node, is_step_data: bool) -> None:  # noqa: FBT001 - private, two callers
    node.proxies_result = is_step_data  # type: ignore[attr-defined]  # read by the code generator


def _private_filter(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)

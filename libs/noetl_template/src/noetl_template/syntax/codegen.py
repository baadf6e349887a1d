"""Code generation; the generated code calls the render context for every operation."""

import math
from typing import Any, override

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame


def is_data(node: nodes.Expr) -> bool:
    """Return whether an expression looks up a name, so that its value may contain data."""
    if isinstance(node, nodes.Name) or node.find(nodes.Name) is not None:
        return True
    # `prepare` replaces some names by private filters, whose names begin with a space.
    filters = [node] if isinstance(node, nodes.Filter) else node.find_all(nodes.Filter)
    return any(each.name.startswith(" ") for each in filters)


class TextGenerator(CodeGenerator):
    """Generates code whose operators and look-ups follow the reference server instead of Python."""

    @override
    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if isinstance(node, nodes.TemplateData):
            return node.data
        raise nodes.Impossible

    @override
    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        # An expression without a look-up contains only text of the playbook's author.
        self.write("context.insert(" if is_data(node) else "context.text(")

    @override
    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write(")")

    @override
    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if node.value is None:
            self.write("environment.dialect.none")
        elif node.value == math.inf:
            self.write("1e999")  # `inf` is not a Python literal
        else:
            super().visit_Const(node, frame)

    @override
    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._write_call("context.new_list(", node.items, frame, ")")
        else:
            super().visit_Tuple(node, frame)

    @override
    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._write_call("context.new_list(", node.items, frame, ")")

    @override
    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("context.new_map(")
        super().visit_Dict(node, frame)
        self.write(")")

    @override
    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        # ``a < b < c`` evaluates c only if the first comparison holds, and evaluates b once.
        shared = [self.temporary_identifier() for _ in node.ops[1:]]
        self.write("(")
        for index, operand in enumerate(node.ops):
            self.write(f"{' and ' if index else ''}context.compare({operand.op!r}, ")
            if index:
                self.write(shared[index - 1])
            else:
                self.visit(node.expr, frame)
            self.write(", ")
            if index < len(shared):
                self.write(f"({shared[index]} := ")
                self.visit(operand.expr, frame)
                self.write(")")
            else:
                self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    @override
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self._write_call("context.concatenate(", node.nodes, frame, ")")

    @override
    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        if getattr(node, "proxies_result", False):
            self._write_call("context.result_of(", [node.node], frame, ")")
        else:
            super().visit_Getattr(node, frame)

    @override
    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if getattr(node, "proxies_result", False):
            self._write_call("context.result_of(", [node.node], frame, ")")
            return
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        absent = nodes.Const(None)
        self._write_call(
            "context.cut(", [node.node, *(bound or absent for bound in bounds)], frame, ")"
        )

    @override
    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        match node.node:
            case nodes.Getattr(node=owner, attr=name):
                self.write("context.call_method(")
                self.visit(owner, frame)
                self.write(f", {name!r}")
            case nodes.Name(name=name):
                self.write(f"context.call_name({name!r}, ")
                self.visit(node.node, frame)
            case _:
                self.write("context.call_name('expression', ")
                self.visit(node.node, frame)
        self.signature(node, frame, {"caller": "caller"} if forward_caller else None)
        self.write(")")

    @override
    def visit_CondExpr(self, node: nodes.CondExpr, frame: Frame) -> None:
        # The base class would use its own undefined value for the missing branch.
        self._write_call("(", [node.expr1], frame, " if ")
        self.visit(node.test, frame)
        self.write(" else ")
        if node.expr2 is None:
            self.write("environment.dialect.undefined")
        else:
            self.visit(node.expr2, frame)
        self.write(")")

    def _write_call(
        self, opening: str, arguments: list[nodes.Expr], frame: Frame, closing: str
    ) -> None:
        self.write(opening)
        for index, argument in enumerate(arguments):
            if index:
                self.write(", ")
            self.visit(argument, frame)
        self.write(closing)


class ValueGenerator(TextGenerator):
    """Generates code that yields the value of a template's only expression without printing it."""

    @override
    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write("(")

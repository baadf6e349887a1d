"""Compile a playbook's Python text and evaluate it: `return`, `main()` or the last value."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_FUNCTION = "__noetl_body__"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class Body:
    """A compiled script."""

    __slots__ = ("code", "returns")

    def __init__(self, source: str, *, name: str) -> None:
        given: str | ast.Module = source
        self.returns = False
        if "return" in source:
            given = ast.parse(source, name)
            self.returns = _has_outer_return(given)
            if self.returns:
                given = _as_function(given)
        self.code: CodeType = compile(given, name, "exec", dont_inherit=True)

    def evaluate(self, namespace: dict[str, Any], args: dict[str, Any]) -> Any:
        """Run at module level; the value is `result`, a top-level `return`, or `main()`.

        Args:
            namespace: the script's globals.
            args: what `main` gets, whatever the script has made of its globals.
        """
        exec(self.code, namespace)  # noqa: S102  our purpose
        if self.returns:
            run = namespace.pop(_FUNCTION)
            namespace["result"] = run(namespace["args"], namespace["input_data"])
        value = namespace.get("result")
        if value is None and callable(namespace.get("main")):
            value = _call_main(namespace["main"], args)
        return value


def _has_outer_return(tree: ast.Module) -> bool:
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, _SCOPES):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _as_function(tree: ast.Module) -> ast.Module:
    """Put the script into a function; line numbers and texts stay as they are."""
    shell = ast.parse(f"def {_FUNCTION}(args, input_data): pass")
    function = shell.body[0]
    if isinstance(function, ast.FunctionDef):
        function.body = tree.body
    return shell


def _call_main(main: Callable[..., Any], args: dict[str, Any]) -> Any:
    parameters = list(inspect.signature(main).parameters.values())
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in args]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named = {name: value for name, value in args.items() if name not in first}
    else:
        allowed = {
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        named = {name: value for name, value in args.items() if name in allowed}
    value = main(*(args[name] for name in first), **named)
    if inspect.iscoroutine(value):
        import asyncio  # noqa: PLC0415  slow to import and rarely needed

        value = asyncio.run(value)
    return value

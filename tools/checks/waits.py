"""A test waits for something and never for a time of its own.

Its only bound is that of `noetl_testkit.waiting` against hanging: one that a test names is too
short on some machine. What a client sends has come to the broker when `noetl_testkit.bus.flush`
returns, and not when the client's own ``flush`` does.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from findings import files, run

_TESTKIT = {"wait_for", "wait_until", "eventually"}
_PROCESSES = {"communicate", "wait", "join"}
# What is waited for there is that a time is over.
_EXPECTED = ("raises", "suppress")
_PROBES = {"tests", "testkit", "benchmarks"}


def find(root: Path) -> Iterator[str]:
    """Find bounds that are numbers, and tests with time limits of their own."""
    for path in files(root, ".py"):
        if _PROBES & set(path.relative_to(root).parts):
            for line in _overtaking(ast.parse(path.read_text())):
                yield f"{path.relative_to(root)}:{line}: flush: wait with noetl_testkit.bus.flush"
        if path.name.startswith("test_") or path.name == "conftest.py":
            name = path.relative_to(root)
            for line, what in _bounds(ast.parse(path.read_text()), is_expected=False):
                yield f"{name}:{line}: {what}: wait with noetl_testkit.waiting, whose bound is one"


def _bounds(node: ast.AST, *, is_expected: bool) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.With | ast.AsyncWith):
        shown = " ".join(ast.unparse(one.context_expr) for one in node.items)
        is_expected = is_expected or any(word in shown for word in _EXPECTED)
    elif isinstance(node, ast.Call) and not is_expected and _is_bounded(node):
        yield node.lineno, ast.unparse(node.func)
    elif isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.timeout":
        yield node.lineno, "pytest.mark.timeout"
    for child in ast.iter_child_nodes(node):
        yield from _bounds(child, is_expected=is_expected)


def _overtaking(tree: ast.Module) -> Iterator[int]:
    """Find the flushes of a client or bus; only those return something to wait for."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Await(value=ast.Call(func=ast.Attribute(attr="flush")))):
                yield node.lineno
            case _:
                pass


def _is_bounded(call: ast.Call) -> bool:
    named = {one.arg: one.value for one in call.keywords}
    match call.func:
        case ast.Name(id=name) if name in _TESTKIT:
            return _is_number(named.get("timeout_seconds"))
        case ast.Attribute(value=ast.Name(id="asyncio"), attr="timeout"):
            return _is_number(*call.args)
        case ast.Attribute(value=ast.Name(id="asyncio"), attr="wait_for"):
            return _is_number(*call.args[1:], named.get("timeout"))
        case ast.Attribute(value=owner, attr=name) if name in _PROCESSES:
            return ast.unparse(owner) != "asyncio" and _is_number(named.get("timeout"))
        case _:
            return False


def _is_number(*given: ast.expr | None) -> bool:
    return any(isinstance(one, ast.Constant) and one.value for one in given)


if __name__ == "__main__":
    run(find)

"""Functions fit a screen and modules a few of them, unless they say why not."""

import ast
from collections.abc import Iterator
from pathlib import Path

from findings import run, source_folders
from questions import Question, answered, asked, function_reason, module_reason, unanswered

LONGEST_FUNCTION = 60
LONGEST_MODULE = 450

type Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def find(root: Path) -> Iterator[str]:
    """Find functions and modules that are too long and don't say why."""
    return unanswered(_questions(root))


def warnings(root: Path) -> Iterator[str]:
    """Find those that say why."""
    return answered(_questions(root))


def _questions(root: Path) -> Iterator[Question]:
    for package in source_folders(root):
        for path in sorted(package.rglob("*.py")):
            yield from _module(str(path.relative_to(root)), path.read_text())


def _module(name: str, text: str) -> Iterator[Question]:
    lines = text.splitlines()
    # What stands in an `__init__.py` is about its folder.
    reason = None if name.endswith("__init__.py") else module_reason(text)
    yield from asked(
        name,
        f"{len(lines)} lines",
        f"at most {LONGEST_MODULE} make a module",
        reason,
        is_beyond=len(lines) > LONGEST_MODULE,
    )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _FUNCTIONS):
            yield from _function(name, node, lines)


def _function(name: str, node: Function, lines: list[str]) -> Iterator[Question]:
    inner = {line for each in ast.walk(node) if each is not node for line in _lines_of(each)}
    own = "\n".join(lines[number - 1] for number in _lines_of(node) if number not in inner)
    length = len(_lines_of(node))
    yield from asked(
        f"{name}:{node.lineno}: `{node.name}`",
        f"{length} lines",
        f"at most {LONGEST_FUNCTION} make a function",
        function_reason(own),
        is_beyond=length > LONGEST_FUNCTION,
    )


def _lines_of(node: ast.AST) -> range:
    """Return the lines of a function; of anything else none."""
    if not isinstance(node, _FUNCTIONS):
        return range(0)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


if __name__ == "__main__":
    run(find, warnings)

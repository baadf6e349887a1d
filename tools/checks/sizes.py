"""Functions fit a screen and modules a few of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from findings import run, source_folders

LONGEST_FUNCTION = 60
LONGEST_MODULE = 450


def find(root: Path) -> Iterator[str]:
    """Find functions and modules that are too long."""
    for package in source_folders(root):
        for path in sorted(package.rglob("*.py")):
            text = path.read_text()
            name = path.relative_to(root)
            lines = len(text.splitlines())
            if lines > LONGEST_MODULE:
                yield f"{name}: {lines} lines, at most {LONGEST_MODULE} make a module"
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    place = f"{name}:{node.lineno}: `{node.name}`"
                    yield f"{place} has {lines} lines, at most {LONGEST_FUNCTION}"


if __name__ == "__main__":
    run(find)

"""Docstrings and headings begin with a noun or a verb, and say it in the field's words.

A summary that begins with "What" or "Who" can only be understood with the code beside it. The words
of ``PLAIN`` mean something only to somebody who knows this project.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from findings import files, run

# Words to replace in a docstring's first line, each with those that may be meant.
PLAIN = {
    "told": "reported, notified, logged, answered or known",
    "tell": "report, notify, log or answer",
    "tells": "reports, notifies, logs or answers",
    "telling": "reporting, notifying, logging or answering",
    "lent": "released or borrowed",
    "lend": "release or borrow",
    "lends": "releases or borrows",
    "lending": "releasing or borrowing",
    "handed": "dispatched, passed or forwarded",
    "hand over": "dispatch, pass or forward",
    "hands over": "dispatches, passes or forwards",
    "handing over": "dispatching, passing or forwarding",
    "patience": "timeout",
    "short way": "bypass",
}

_BEGINNING = re.compile(r"(?:What|Who|Whose|Whether what)\b")
_PLAIN = re.compile(rf"\b(?:{'|'.join(PLAIN)})\b", re.IGNORECASE)
_CODE = re.compile(r"(`+).*?\1")
# A file without such a text has no finding; to parse every file takes seconds.
_CANDIDATE = re.compile(
    rf"""["']\\?\s*(?:{_BEGINNING.pattern}|[^"'\n]*{_PLAIN.pattern})""", re.IGNORECASE
)
_HEADING = re.compile(r"^#{1,6} +(.*)$")
_FENCE = re.compile(r"^\s*(```+|~~~+)")


def find(root: Path) -> Iterator[str]:
    """Find beginnings and words that a reader new to the project can't understand."""
    for path in files(root, ".py", ".md"):
        place = path.relative_to(root).as_posix()
        text = path.read_text()
        if path.suffix == ".md":
            problems = _headings(text)
        elif _CANDIDATE.search(text):
            problems = _docstrings(ast.parse(text))
        else:
            continue
        yield from (f"{place}:{line}: {problem}" for line, problem in problems)


def _headings(text: str) -> Iterator[tuple[int, str]]:
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        if mark := _FENCE.match(line):
            if fence is None:
                fence = mark[1]
            elif mark[1].startswith(fence):
                fence = None
        elif fence is None and (heading := _HEADING.match(line)):
            yield from _beginning(number, "heading", heading[1])


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for number, text in _texts_of(node):
            first = text.strip().partition("\n")[0]
            yield from _beginning(number, "docstring", first)
            for found in _PLAIN.finditer(_CODE.sub("", first)):
                word = found[0].lower()
                yield number, f"`{word}` in a first line: say {PLAIN[word]}"


def _texts_of(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the docstring of a node, and those below the fields and constants of its body."""
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    has_own = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    is_place = has_own
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str(text))) if is_place:
                yield statement.lineno, text
            case _:
                pass
        is_place = isinstance(statement, ast.Assign | ast.AnnAssign)


def _beginning(line: int, kind: str, text: str) -> Iterator[tuple[int, str]]:
    if found := _BEGINNING.match(text):
        proposal = (
            "name the thing (`Limits of …`), or of a function the act (`Return …`)"
            if kind == "docstring"
            else "name the subject of the section (`Limits`, `Rights of a worker`)"
        )
        yield line, f"a {kind} begins with `{found[0]}`: {proposal}"


if __name__ == "__main__":
    run(find)

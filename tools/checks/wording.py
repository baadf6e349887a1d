"""Docstrings, comments, names and headings use the words of the field and name their subject.

A summary that begins with "What" or "Who" can only be understood with the code beside it. The words
of ``PLAIN`` have a meaning only in this project.

Headings and first lines of docstrings are read everywhere. In delivered packages, comments, whole
docstrings and the names of functions, classes and parameters are read too, except in ``UNREAD``.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from findings import files, run, source_folders

# Folders whose comments, names and whole docstrings still break the rules. Only to be shortened.
UNREAD = (
    "cli/src",
    "libs/noetl_bus/src/noetl_bus/writes",
    "libs/noetl_console/src",
    "libs/noetl_contract/src",
    "libs/noetl_engine/src",
    "packages/noetl_keychain_providers/src",
    "packages/noetl_maintenance/src",
    "packages/noetl_migrate/src",
    "packages/noetl_tool_snowflake/src",
    "packages/noetl_tool_wasm/src",
    "services/api-gateway/src",
    "services/catalog/src/noetl_catalog/secrets",
    "services/orchestrator/src",
    "services/projector/src",
    "services/worker/src",
    "testkit/src",
)

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

# Words to replace anywhere in a docstring or a comment, besides those of ``PLAIN``.
ANYWHERE = {
    "nobody": "no caller, no worker: the subject by its name",
    "somebody": "a caller, an operator: the subject by its name",
    "of before": "previous or earlier",
    "is none": "is not a valid …, or doesn't exist",
    "are none": "are not valid …, or don't exist",
    "let go": "release",
    "lets go": "releases",
    "bury": "move to the dead-letter stream",
    "buried": "moved to the dead-letter stream",
    "spill": "publish to the fallback queue",
    "spilled": "published to the fallback queue",
    "side by side": "concurrently",
    "original server": "reference server",
}
# Parts of a name, and verbs at its beginning, that a search for the thing doesn't find.
NAME_PARTS = frozenset({
    "told", "tell", "tells", "lent", "lend", "lends", "door", "spill", "spilled", "patience",
    "bury", "buried", "wish", "wishes", "nobody", "somebody", "sick", "killer", "ours",
})  # fmt: skip
NAME_VERBS = frozenset({"take", "give", "hear", "look", "note", "let", "hand"})
MOST_WORDS = 40

_BEGINNING = re.compile(r"(?:What|Who|Whose|Whether what)\b")
_PLAIN = re.compile(rf"\b(?:{'|'.join(PLAIN)})\b", re.IGNORECASE)
_ANYWHERE = re.compile(rf"\b(?<!there )(?:{'|'.join([*PLAIN, *ANYWHERE])})\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"(?:It|Its|They|Their|Those|That|Ours|Others|Nobody|Somebody|Such|Whose|Who|What)\b"
)
_SENTENCE_END = re.compile(r"[.:;!?)](?=\s|$)|\n\s*\n|\n\s*(?:[-*]|\w+:)\s")
_CODE = re.compile(r"(`+).*?\1")
_ARGUMENT = re.compile(r"^ +\w+:", re.MULTILINE)
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
    for package in source_folders(root):
        yield from _package(root, package)


def _package(root: Path, package: Path) -> Iterator[str]:
    """Find problems in the comments, names and whole docstrings of a package."""
    for path in sorted(package.rglob("*")):
        place = path.relative_to(root).as_posix()
        if path.suffix not in {".py", ".sql"} or place.startswith(UNREAD):
            continue
        source = path.read_text()
        texts = [*_comments(source, path.suffix)]
        if path.suffix == ".py":
            tree = ast.parse(source)
            texts += (text for node in ast.walk(tree) for text in _texts_of(node))
            yield from (f"{place}:{line}: {problem}" for line, problem in _names(tree))
        for line, text in texts:
            yield from (f"{place}:{line}: {problem}" for problem in _problems(text.strip()))


def _comments(source: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a file with their first lines; adjoining lines are one comment."""
    if suffix == ".sql":
        lines = source.split("\n")
        found = [
            (number, len(line) - len(line.lstrip()), line.strip()[2:].strip())
            for number, line in enumerate(lines, 1)
            if line.lstrip().startswith("--") and not line.startswith("-- name:")
        ]
    elif "#" in source:
        tokens = tokenize.generate_tokens(StringIO(source).readline)
        found = [
            (token.start[0], token.start[1], token.string.lstrip("#").strip())
            for token in tokens
            if token.type == tokenize.COMMENT and not token.string.startswith("# size:")
        ]
    else:
        return
    begun, parts = 0, list[str]()
    before = (0, 0)
    for number, column, text in found:
        if (number - 1, column) != before and parts:
            yield begun, " ".join(parts)
            parts = []
        begun = begun if parts else number
        parts.append(text)
        before = (number, column)
    if parts:
        yield begun, " ".join(parts)


def _problems(text: str) -> Iterator[str]:
    """Yield the problems of a docstring or a comment."""
    if found := _PRONOUN.match(text):
        yield f"a text begins with `{found[0]}`: name the subject"
    plain = _ARGUMENT.sub(".", _CODE.sub("", text))
    for found in _ANYWHERE.finditer(plain):
        word = " ".join(found[0].split())
        if not word.endswith("None"):
            yield f"`{word}`: say {(PLAIN | ANYWHERE)[word.lower()]}"
    for sentence in _SENTENCE_END.split(plain):
        if (count := len(sentence.split())) > MOST_WORDS:
            beginning = " ".join(sentence.split()[:6])
            yield f"a sentence of {count} words, `{beginning} …`: make it two"


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names of functions, classes and parameters that a search doesn't find."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                is_function = True
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                is_function = False
            case _:
                continue
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_").split("_")
        if wrong := NAME_PARTS & {*words}:
            yield node.lineno, f"`{name}`: a name without `{min(wrong)}`, in the field's words"
        elif is_function and words[0] in NAME_VERBS and words[:2] != ["give", "up"]:
            yield node.lineno, f"`{name}`: name the act by its verb instead of `{words[0]}`"


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

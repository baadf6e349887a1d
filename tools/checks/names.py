"""Modules, their names and files that documents speak of are where the documents say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from findings import files, run, source_folders

# First words of NATS subjects, which look like packages.
SUBJECTS = frozenset({"noetl_audit", "noetl_dead", "noetl_hint", "noetl_ingress", "noetl_rpc"})
# Files of readers, keys of documents, a path of the catalog, and a method of MCP.
NOT_OURS = frozenset(
    {
        "message.json",
        *("identity.json", "playbook.schema.json", "playbook.yaml", "source.json"),
        *("examples/hello", "tools/call"),
    }
)
# A changelog speaks of the past; the rules and the fast paths have checks of their own.
NOT_READ = frozenset({"CHANGELOG.md", "docs/fast-paths.md", "docs/rules.md"})

_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^(````?).*?^\1$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"(?<![\w./-])noetl_\w+(?:\.[A-Za-z_]\w*)+(?![\w/])")
_START = r"(?<![\w./<>$~{}*…:-])"
_SUFFIXES = "cfg|ini|json|md|py|sh|sql|toml|txt|yaml|yml"
_FILE = re.compile(rf"{_START}(?:[\w.-]+/)*[\w-][\w.-]*\.(?:{_SUFFIXES})(?![\w*<…/])")
_FOLDER = re.compile(rf"{_START}(?:[\w-]+/)+(?![\w*<{{…])")
_INSIDE = re.compile(r"(?<![\w./<>$~{}*…:-])([\w-]+)(?:/[\w-]+)+(?![\w./*<{…-])")
# Files that a page has its reader write: by a mark of its block, or by a command.
_WRITTEN = re.compile(r"^<!-- file: (\S+) -->$|(?<=\s)> ([\w.-]+\.\w+)", re.MULTILINE)
_PLACEHOLDER = re.compile(r"NAME|NNNN")


def find(root: Path) -> Iterator[str]:
    """Find names and paths in documents that lead nowhere."""
    paths = [path.relative_to(root).as_posix() for path in files(root, "")]
    places = {f"/{path}" for path in paths}
    places |= {f"/{folder}/" for path in paths for folder in _folders(path)}
    places |= {f"/{name}" for path in files(root, ".md") for name in _written(path.read_text())}
    packages = {folder.name: folder for folder in source_folders(root)}
    for path in files(root, ".md"):
        document = path.relative_to(root).as_posix()
        if document in NOT_READ:
            continue
        for number, text in _said(path.read_text()):
            for name in _NAME.findall(text):
                if name.split(".")[0] not in SUBJECTS and not is_there(packages, name):
                    yield f"{document}:{number}: there is no `{name}`"
            for named in _paths(text, places):
                if not _leads_somewhere(places, document, named):
                    yield f"{document}:{number}: there is no `{named}` in this repository"


def _written(text: str) -> Iterator[str]:
    for found in _WRITTEN.finditer(text):
        yield found[1] or found[2]


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _paths(text: str, places: set[str]) -> Iterator[str]:
    """Yield files by their suffix, folders by the slash at their end, and paths inside folders."""
    yield from _FILE.findall(text)
    yield from _FOLDER.findall(text)
    for found in _INSIDE.finditer(text):
        if f"/{found[1]}/" in places:
            yield found[0]


def _said(text: str) -> Iterator[tuple[int, str]]:
    """Yield names in prose with the lines they are in, and commands of shell examples."""
    prose = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for number, line in enumerate(prose.split("\n"), 1):
        for span in _SPAN.findall(line):
            yield number, span
    for block in _SHELL.finditer(text):
        first = text.count("\n", 0, block.start(1)) + 1
        for number, line in enumerate(block[1].split("\n"), first):
            yield number, line.partition(" # ")[0]


def _leads_somewhere(places: set[str], document: str, named: str) -> bool:
    """Return whether a path exists from the root, or below the document's own folder.

    Documents of ``docs`` and of the root may name a file of any package by the end of its path.
    """
    if named in NOT_OURS or _PLACEHOLDER.search(named):
        return True
    if not places.isdisjoint({f"/{named}", f"/{named}/"}):
        return True
    folder = "/".join(document.split("/")[:-1])
    inside = f"/{folder}/" if folder and not folder.startswith("docs") else "/"
    return any(place.endswith(f"/{named}") and place.startswith(inside) for place in places)


def is_there(packages: dict[str, Path], name: str) -> bool:
    """Return whether a dotted name is a module, or a name in one, without importing it."""
    first, *rest = name.split(".")
    place = packages.get(first)
    if place is None:
        return False
    while rest and place.is_dir():
        step = rest[0]
        if (place / step).is_dir():
            place /= step
        elif (place / f"{step}.py").is_file():
            place /= f"{step}.py"
        else:
            break
        rest = rest[1:]
    module = place / "__init__.py" if place.is_dir() else place
    return not rest or (module.is_file() and _defines(ast.parse(module.read_text()).body, rest))


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    """Return whether the statements of a module or class make a name, and it the next one."""
    for statement in body:
        if names[0] not in _made(statement):
            continue
        if len(names) == 1:
            return True
        if isinstance(statement, ast.ClassDef):
            return _defines(statement.body, names[1:])
    return False


def _made(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            return {name}
        case ast.TypeAlias(ast.Name(name)) | ast.AnnAssign(ast.Name(name)):
            return {name}
        case ast.Import(names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.Assign(targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


if __name__ == "__main__":
    run(find)

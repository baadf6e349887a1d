"""Each row of ``docs/fast-paths.md`` names its modules, figure, switch and tests.

What a row names is there: modules of a package, settings of the configuration page, tests.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from citations import TEST, gone_tests
from findings import run, source_folders
from names import is_there

PAGE = Path("docs/fast-paths.md")
NOT_MEASURED = "not measured"
"""In place of the part that a row lacks, said plainly."""

_CELLS = (
    "name", "what it does", "where", "figure", "switch", "fast way held by", "slow way held by",
)  # fmt: skip
_ROW = re.compile(r"^\| .*\|$", re.MULTILINE)
_NAME = re.compile(r"`([a-z]+(?:-[a-z]+)*)`")
_MODULE = re.compile(r"`(noetl_[\w.]+)`")
_SWITCH = re.compile(r"`(NOETL_\w+)=[^`]*`")
_SETTING = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_SOURCE = re.compile(r"\[[^\]]+\]\([^)]+\)|`[0-9a-f]{8}`")


def find(root: Path) -> Iterator[str]:
    """Find rows that lack a cell, and names in them that lead nowhere."""
    path = root / PAGE
    if not path.exists():
        return
    text = path.read_text()
    packages = {folder.name: folder for folder in source_folders(root)}
    settings = set(_SETTING.findall((root / "docs/configuration.md").read_text()))
    known: set[str] = set()
    for line in _ROW.findall(text):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if tuple(cells) == _CELLS or set("".join(cells)) <= set("-: "):
            continue
        yield from (f"{PAGE}: {problem}" for problem in _problems(cells, known, packages, settings))
    yield from gone_tests(root, PAGE)


def _problems(
    cells: list[str], known: set[str], packages: dict[str, Path], settings: set[str]
) -> Iterator[str]:
    name = _NAME.fullmatch(cells[0])
    if name is None or len(cells) != len(_CELLS):
        yield f"a row is no name in small letters with {len(_CELLS) - 1} cells more: {cells[0]}"
        return
    row = name[1]
    if row in known:
        yield f"`{row}` is there twice"
    known.add(row)
    _, does, where, figure, switch, *tests = cells
    if not does:
        yield f"`{row}` doesn't say what it does"
    if not figure.lower().startswith(NOT_MEASURED) and _SOURCE.search(figure) is None:
        yield f"the figure of `{row}` has no source, nor is it `{NOT_MEASURED}`"
    yield from _wrong_modules(row, _MODULE.findall(where), packages)
    yield from _wrong_switches(row, switch, settings)
    for title, held in zip(_CELLS[-2:], tests, strict=True):
        if TEST.search(held) is None:
            yield f"of `{row}` the cell `{title}` names no test"


def _wrong_modules(row: str, modules: list[str], packages: dict[str, Path]) -> Iterator[str]:
    if not modules:
        yield f"`{row}` names no module"
    for module in modules:
        if not is_there(packages, module):
            yield f"`{row}` names `{module}`, which is not there"


def _wrong_switches(row: str, switch: str, settings: set[str]) -> Iterator[str]:
    named = _SWITCH.findall(switch)
    if not named:
        yield f"`{row}` names no setting `NAME=value`"
    for setting in named:
        if setting not in settings:
            yield f"`{row}` is switched off by `{setting}`, which is no setting"


if __name__ == "__main__":
    run(find)

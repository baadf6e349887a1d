"""Each rule of ``docs/rules.md`` is short, gives its reason, and names the tests that hold it.

In tables of other pages, too, what is said has its evidence: no cell of a column that gives it is
empty.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from citations import RULES, TEST
from findings import files, run

LONGEST = 3
"""Sentences of one rule; a longer one is two rules."""
EVIDENCE = ("held by", "how", "rule")
"""Ends of the titles of columns that say where a statement comes from."""
UNTESTED = "no test of its own"
"""In place of tests, for rules that only people can check."""

_NUMBER = re.compile(r"^\| ([A-Z]\d{1,2}) \|")
_CELLS = ("rule", "because", "held by")
_TABLE = re.compile(r"(?:^\|.*\|$\n?){2,}", re.MULTILINE)
_CODE = re.compile(r"`[^`]*`")
_END = re.compile(r"[.!?](?=\s|$)")


def find(root: Path) -> Iterator[str]:
    """Find rules that are too long, say no reason, or name no test; and statements without one."""
    yield from _rules(root)
    for path in files(root, ".md"):
        page = path.relative_to(root)
        if page != RULES and page.parts[0] == "docs":
            yield from (f"{page}: {found}" for found in _unheld(path.read_text()))


def _rules(root: Path) -> Iterator[str]:
    path = root / RULES
    if not path.exists():
        return
    numbers: set[str] = set()
    for line in path.read_text().splitlines():
        found = _NUMBER.match(line)
        if found is None:
            continue
        rule = found[1]
        if rule in numbers:
            yield f"{RULES}: {rule} is there twice"
        numbers.add(rule)
        yield from _problems(rule, _cells(line)[1:])


def _unheld(text: str) -> Iterator[str]:
    """Find rows of tables whose cell for the evidence is empty, and those that lack it."""
    for table in _TABLE.findall(text):
        head, _, *rows = map(_cells, table.splitlines())
        for place, title in enumerate(head):
            if title.endswith(EVIDENCE):
                for row in rows:
                    if not row[place : place + 1] or not row[place]:
                        yield f"of `{row[0]}` the cell `{title}` is empty"


def _cells(line: str) -> list[str]:
    # A sign of a table stands in code, if anywhere.
    return [cell.strip() for cell in _CODE.sub(_hide, line).split("|")[1:-1]]


def _hide(code: re.Match[str]) -> str:
    return code[0].replace("|", "/")


def _problems(rule: str, cells: list[str]) -> Iterator[str]:
    if len(cells) != len(_CELLS):
        yield f"{RULES}: {rule} has {len(cells)} cells, not {', '.join(_CELLS)}"
        return
    for title, cell in zip(_CELLS, cells, strict=True):
        if not cell:
            yield f"{RULES}: of {rule} the cell `{title}` is empty"
    text, _, held = cells
    if held and held != UNTESTED and TEST.search(held) is None:
        yield f"{RULES}: {rule} names no test, nor `{UNTESTED}`"
    sentences = len(_END.findall(_CODE.sub("x", text)))
    if sentences > LONGEST:
        yield f"{RULES}: {rule} has {sentences} sentences, at most {LONGEST} make a rule"


if __name__ == "__main__":
    run(find)

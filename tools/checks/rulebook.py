"""Each rule of ``docs/rules.md`` is short, gives its reason, and names the tests that hold it."""

import re
from collections.abc import Iterator
from pathlib import Path

from citations import RULES, TEST
from findings import run

LONGEST = 3
"""Sentences of one rule; what needs more is two rules."""
UNTESTED = "no test of its own"
"""In place of tests, for what only people can look after."""

_NUMBER = re.compile(r"^\| ([A-Z]\d{1,2}) \|")
_CELLS = ("rule", "because", "held by")
_CODE = re.compile(r"`[^`]*`")
_END = re.compile(r"[.!?](?=\s|$)")


def find(root: Path) -> Iterator[str]:
    """Find rules that are too long, say no reason, or name no test."""
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
        # A sign of a table stands in code, if anywhere.
        cells = [cell.strip() for cell in _CODE.sub(_hide, line).split("|")[2:-1]]
        yield from _problems(rule, cells)


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

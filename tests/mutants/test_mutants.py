"""The table of changes: what it names is there, and each guarantee has one."""

import re
from pathlib import Path

import pytest
from mutants_proof import count_of
from mutations import MUTATIONS, Mutation

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "guarantees.md").read_text(encoding="utf-8")


def promises() -> list[str]:
    """Return the lines of the page that promise something: paragraphs, bullets, rows of tables."""
    found = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        lines = [line for line in text.splitlines() if line]
        if title == "Nothing accepted is lost":
            found += [line for line in lines if line.startswith("**")]
        elif title in {"Once", "While a part is away"}:
            found += [line for line in lines if line.startswith("| ")][1:]
        elif title == "Effect of a cancel":
            found += [line for line in lines if line.startswith("* ")]
        elif title == "Effect of a restart":
            found.append(lines[0])
    return found


NO_PROMISE = "What has left can't be called back"


def test_each_promise_has_a_change_that_breaks_it() -> None:
    lines = promises()

    assert len(lines) > 20
    assert [
        line
        for line in lines
        if not any(one.guarantee in line for one in MUTATIONS) and NO_PROMISE not in line
    ] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.guarantee}, {one.file}")
def test_what_a_change_names_is_there(mutation: Mutation) -> None:
    assert mutation.guarantee in PAGE
    assert count_of(mutation) == 1
    assert mutation.text != mutation.instead
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TOP / file).read_text(encoding="utf-8"), test

from collections.abc import Callable
from pathlib import Path

import pytest
import rulebook

HEAD = "| id | rule | because | held by |\n|---|---|---|---|\n"
ROOT = Path(__file__).resolve().parents[3]


def test_the_rules_of_this_checkout_are_short_and_held() -> None:
    assert list(rulebook.find(ROOT)) == []


@pytest.mark.parametrize(
    "row",
    [
        "| W1 | One. Two. Three. | So. | `x/test_a.py::test_b` |",
        "| W1 | One `a. b. c. d | e.`, see `W2`. | So. | `test_a.py` |",
        "| W1 | It waits for 1.5 s and v2.1.0 of it. | So. | no test of its own |",
    ],
)
def test_a_rule_of_three_sentences_with_a_test_is_one(
    row: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("docs/rules.md", f"{HEAD}{row}\n")

    assert list(rulebook.find(tmp_path)) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("| W1 | One. | So. |  |", "of W1 the cell `held by` is empty"),
        ("| W1 | One. |  | `test_a.py` |", "of W1 the cell `because` is empty"),
        ("| W1 | One. | So. | by hand |", "W1 names no test, nor `no test of its own`"),
        ("| W1 | 1. Two? Three! Four. | So. | `test_a.py` |", "W1 has 4 sentences, at most 3"),
        ("| W1 | One. | `test_a.py` |", "W1 has 2 cells"),
        ("| W1 | A. | S. | `test_a.py` |\n| W1 | B. | S. | `test_a.py` |", "W1 is there twice"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told(
    row: str, told: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("docs/rules.md", f"{HEAD}{row}\n")

    (found,) = rulebook.find(tmp_path)

    assert found.startswith(f"docs/rules.md: {told}")


@pytest.mark.parametrize("title", ["held by", "fast way held by", "how", "rule"])
def test_a_statement_of_another_page_without_its_evidence_is_told(
    title: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    rows = "| one | a | `W1` |\n| two | `a | b` | |\n| three | c |\n"
    table = f"| what | said | {title} |\n|---|---|---|\n{rows}"
    plant("docs/some/page.md", f"# A page\n\n{table}\nText.\n")
    plant("docs/other.md", "| what | said |\n|---|---|\n| one | |\n")

    assert list(rulebook.find(tmp_path)) == [
        f"docs/some/page.md: of `two` the cell `{title}` is empty",
        f"docs/some/page.md: of `three` the cell `{title}` is empty",
    ]

"""The key tables of the language reference."""

from pathlib import Path

import language

_PAGE = """# Steps

<!-- keys of StepSpec: generated from the language by tools/docs -->
old
<!-- end of keys -->

Behind it.
"""


def test_a_table_has_what_works_first_and_says_what_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "docs/language").mkdir(parents=True)
    (tmp_path / "docs/language/steps.md").write_text(_PAGE)
    (tmp_path / "docs/language/README.md").write_text("nothing generated")

    pages = language.pages(tmp_path)

    assert list(pages) == ["docs/language/steps.md"]
    text = pages["docs/language/steps.md"](tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0].startswith("| `next_mode` | text |")
    assert rows[-1].startswith("| `on_error` | text | No effect: it is ignored")
    assert text.endswith("Behind it.\n")
    assert "old" not in text


def test_a_mapping_without_a_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs/language").mkdir(parents=True)
    (tmp_path / "docs/language/steps.md").write_text(_PAGE)

    assert "Step" in language.levels_without_table(tmp_path)
    assert "StepSpec" not in language.levels_without_table(tmp_path)

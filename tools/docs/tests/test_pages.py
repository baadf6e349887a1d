from pathlib import Path

import pages


def test_a_page_that_differs_is_told(tmp_path: Path) -> None:
    found = {"docs/a.md": lambda _: "new\n", "docs/b.md": lambda _: "same\n"}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/b.md").write_text("same\n")
    assert pages.stale(tmp_path, found) == ["docs/a.md"]

    (tmp_path / "docs/a.md").write_text("old\n")
    assert pages.stale(tmp_path, found) == ["docs/a.md"]

    pages.write(tmp_path, found)
    assert pages.stale(tmp_path, found) == []

"""Named statements in files."""

from pathlib import Path

import pytest
from noetl_common.pg.queries import Queries


def test_statements_are_found_by_name() -> None:
    queries = Queries.parse(
        """-- A file of statements.

-- name: get_thing
-- Description, left out.
-- $1 id
SELECT name
FROM thing
-- a comment inside stays
WHERE id = $1;

-- name: count_things
SELECT count(*) FROM thing
"""
    )

    assert list(queries) == ["get_thing", "count_things"]
    assert queries["get_thing"] == (
        "SELECT name\nFROM thing\n-- a comment inside stays\nWHERE id = $1\n/* get_thing */"
    )


def test_an_unknown_statement_is_named() -> None:
    with pytest.raises(KeyError, match="get_thing"):
        Queries.parse("")["get_thing"]


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "-- name: a\n-- only words", "-- name: a\nSELECT 1\n-- name: a\nSELECT 2"],
)
def test_a_malformed_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(SQL before|the statement a is)"):
        Queries.parse(text)


def test_statements_are_read_from_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text("-- name: one\nSELECT 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert Queries.load("some_store")["one"] == "SELECT 1\n/* one */"


def test_several_files_are_one_set_and_a_name_is_in_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "two_files"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.sql").write_text("-- name: one\nSELECT 1\n")
    (package / "b.sql").write_text("-- name: two\nSELECT 2\n")
    (package / "c.sql").write_text("-- name: one\nSELECT 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert list(Queries.load("two_files", "a.sql", "b.sql")) == ["one", "two"]
    with pytest.raises(ValueError, match="one is in two files"):
        Queries.load("two_files", "a.sql", "c.sql")

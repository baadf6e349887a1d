"""Named statements in files."""

from dataclasses import fields
from pathlib import Path

import asyncpg
import pytest
from noetl_contract.events import EventRow
from noetl_pg.sql.queries import Queries
from noetl_testkit.postgres import Database


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


def test_lists_of_columns_are_written_once() -> None:
    queries = Queries.parse(
        """-- list: thing
-- What a thing is.
SELECT
    t.id,
    (SELECT n.name FROM name AS n) AS name
FROM thing AS t;

-- name: list_things
SELECT {thing}, '{path,inside}', '{thing}', '{}' FROM thing AS t

-- name: find_event
SELECT {log_row} FROM noetl.event AS e
"""
    )

    assert list(queries) == ["list_things", "find_event"]
    assert queries["list_things"].startswith(
        "SELECT t.id,\n    (SELECT n.name FROM name AS n) AS name,"
        " '{path,inside}', '{thing}', '{}' FROM thing AS t"
    )
    assert queries["find_event"].startswith("SELECT e.execution_id, e.position, ")


def test_a_list_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"list_things names no list: \{thing\}"):
        Queries.parse("-- name: list_things\nSELECT {thing} FROM thing")
    with pytest.raises(ValueError, match="thing is no SELECT"):
        Queries.parse("-- list: thing\nt.id, t.name")


async def test_a_log_row_has_the_fields_of_an_event_row(database: Database) -> None:
    query = Queries.parse("-- name: one\nSELECT {log_row} FROM noetl.event AS e")["one"]
    connection = await asyncpg.connect(database.dsn)
    try:
        columns = (await connection.prepare(query)).get_attributes()
    finally:
        await connection.close()

    assert [field.name for field in fields(EventRow)] == [column.name for column in columns]


def test_statements_that_differ_in_a_condition_are_written_once() -> None:
    queries = Queries.parse(
        "-- name: find\n-- each: find_open in_state = a IS NULL\n"
        "-- each: find_all in_state = true\n-- What it finds.\nSELECT 1 WHERE {in_state};\n"
    )

    assert list(queries) == ["find_open", "find_all"]
    assert queries["find_open"] == "SELECT 1 WHERE a IS NULL\n/* find_open */"
    assert queries["find_all"] == "SELECT 1 WHERE true\n/* find_all */"


LONG = """-- name: commit
-- without: commit_less keys
-- Commits.
SELECT
    $1,
    -- part: keys
    $2,
    -- end
    $3;
"""


def test_a_shorter_statement_lacks_parts_and_counts_its_parameters() -> None:
    queries = Queries.parse(LONG)

    assert queries["commit"] == "SELECT\n    $1,\n    $2,\n    $3\n/* commit */"
    assert queries["commit_less"] == "SELECT\n    $1,\n    $2\n/* commit_less */"


@pytest.mark.parametrize("wrong", [("less keys", "less locks"), ("    -- end\n", "")])
def test_a_part_has_to_be_there_and_to_end(wrong: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="parts of the statement commit "):
        Queries.parse(LONG.replace(*wrong))


def test_a_variant_may_not_have_the_name_of_another_statement() -> None:
    text = (
        "-- name: find\n-- each: other in_state = true\nSELECT 1 WHERE {in_state};\n"
        "-- name: other\nSELECT 2;\n"
    )

    with pytest.raises(ValueError, match="other is there twice"):
        Queries.parse(text)

"""The tables of commands and exit codes."""

from pathlib import Path

import command_line
import pytest
from noetl.exits import Exit


def test_commands_are_shown_with_their_arguments_and_groups_by_what_they_hold() -> None:
    rows = command_line.commands_table().splitlines()
    called = [row.split("`")[1] for row in rows[2:]]

    assert {"register PLACE...", "signal EXECUTION NAME", "failures", "failures restart GROUP"} <= {
        *called
    }
    assert "open [EXECUTION\\|PATH]" in called
    assert not {"schedule", "credential"} & {*called}
    assert all(row.count("|") - row.count("\\|") == 3 for row in rows)


def test_each_exit_code_has_a_row() -> None:
    rows = command_line.exits_table().splitlines()[2:]

    assert [int(row.split("|")[1]) for row in rows] == sorted(Exit)


def test_a_page_without_its_lines_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / command_line.NAME).write_text("nothing")

    with pytest.raises(ValueError, match="lacks the lines"):
        command_line.page(tmp_path)

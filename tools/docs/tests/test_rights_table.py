"""The table of roles and rights."""

from pathlib import Path

import pytest
import rights_table
from noetl_contract.access.rights import ROLE_RIGHTS, Right, Role


def test_each_right_has_a_row_that_says_who_has_it() -> None:
    head, _, *rows = rights_table.table().splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    shown = {
        cells[0].strip().strip("`"): {
            name for name, cell in zip(names[1:], cells[1:], strict=True) if cell.strip()
        }
        for cells in (row.strip("|").split("|") for row in rows)
    }

    assert shown.keys() == set(Right) - {Right.PUBLIC}
    assert "capability¹" in shown[Right.COMMANDS_CLAIM]
    assert shown[Right.SECRETS_READ] & set(Role) == set()
    for role, rights in ROLE_RIGHTS.items():
        assert {right for right, holders in shown.items() if role in holders} == rights - {
            Right.PUBLIC
        }


def test_a_page_without_its_lines_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / rights_table.NAME).write_text("nothing")

    with pytest.raises(ValueError, match="lacks the lines"):
        rights_table.page(tmp_path)

"""The table of routes."""

from pathlib import Path

import api_routes
import pytest


def test_a_route_has_its_summary_and_its_right() -> None:
    tables = api_routes.tables()

    assert "| `POST /api/execute` | Start an execution | `executions.start` |" in tables
    assert "`PUT /api/result/{execution_id}`" in tables
    assert "/console" not in tables


def test_a_page_without_its_lines_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / api_routes.NAME).write_text("nothing")

    with pytest.raises(ValueError, match="lacks the lines"):
        api_routes.page(tmp_path)
